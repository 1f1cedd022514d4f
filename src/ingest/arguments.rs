//! The arguments of the trigger on a table: what `attach_ip_source` was asked for.

/// The argument that holds the condition begins with this. A selector that does is to be quoted.
pub const CONDITION: &str = "where ";
/// So does the one that holds the sensor.
pub const SENSOR: &str = "sensor: ";

/// How rows are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Where the time of the event stands, with its zone; `None`: it is the time of the statement.
    pub observed_at: Option<String>,
    /// Where the addresses stand.
    pub selectors: Vec<String>,
    /// The condition that a row must meet.
    pub only_where: Option<String>,
    /// Where the sensor stands.
    pub sensor: Option<String>,
}

impl Arguments {
    /// From those of a trigger: `observed_at`, which may be empty, then the rest.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Arguments {
        let mut arguments = arguments.into_iter();
        let observed_at = arguments.next().filter(|name| !name.is_empty());
        let mut parsed = Arguments { observed_at, ..Arguments::default() };
        for argument in arguments {
            if let Some(condition) = argument.strip_prefix(CONDITION) {
                parsed.only_where = Some(condition.to_owned());
            } else if let Some(sensor) = argument.strip_prefix(SENSOR) {
                parsed.sensor = Some(sensor.to_owned());
            } else {
                parsed.selectors.push(argument);
            }
        }
        parsed
    }

    /// As a trigger takes them.
    pub fn list(&self) -> Vec<String> {
        let observed_at = self.observed_at.clone().unwrap_or_default();
        let condition = self.only_where.as_ref().map(|text| format!("{CONDITION}{text}"));
        let sensor = self.sensor.as_ref().map(|text| format!("{SENSOR}{text}"));
        std::iter::once(observed_at).chain(self.selectors.iter().cloned()).chain(condition).chain(sensor).collect()
    }
}
