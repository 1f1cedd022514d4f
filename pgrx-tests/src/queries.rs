//! The queries of `docs/queries.md`, and the statements of other pages, as they stand there.

/// One statement, with the heading that it stands under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Without the marks.
    pub heading: String,
    /// Without the semicolon.
    pub sql: String,
}

impl Query {
    /// It makes what others ask, or sets something for them.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        let makes = ["CREATE TABLE", "CREATE SCHEMA", "CREATE MATERIALIZED VIEW", "CREATE UNIQUE INDEX", "SET "];
        makes.iter().any(|word| self.sql.starts_with(word)) || self.sql.contains("attach_ip_source")
    }
}

/// All of `docs/queries.md`, in order.
#[must_use]
pub fn all() -> Vec<Query> {
    of(include_str!("../../docs/queries.md"))
}

/// All of a page, in order.
#[must_use]
pub fn of(page: &str) -> Vec<Query> {
    let (mut heading, mut found) = (String::new(), Vec::new());
    let (mut block, mut is_sql) = (String::new(), false);
    for line in page.lines() {
        match (line.strip_prefix("## "), line) {
            (Some(title), _) if !is_sql => title.clone_into(&mut heading),
            (_, "```sql") => is_sql = true,
            (_, "```") if is_sql => {
                let statements = block.split(';').map(str::trim).filter(|sql| !sql.is_empty());
                found.extend(statements.map(|sql| Query { heading: heading.clone(), sql: without_comments(sql) }));
                block.clear();
                is_sql = false;
            }
            _ if is_sql => {
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    found
}

fn without_comments(sql: &str) -> String {
    sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n")
}
