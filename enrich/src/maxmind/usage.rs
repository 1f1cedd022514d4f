//! The processes that have a generation open, and its licence's attribution.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::manifest::GenerationInfo;

/// How many processes of this user have each generation below `store` mapped, by directory name: a generation is named by its
/// content, and another server on this machine may have the same. Reads `/proc`, where there is one: some 0.1 ms a process.
/// A process that cannot be looked into is not counted.
pub fn users<'a>(store: &Path, generations: impl Iterator<Item = &'a GenerationInfo>) -> BTreeMap<String, i32> {
    let mut users: BTreeMap<String, i32> = generations.map(|info| (info.directory.clone(), 0)).collect();
    let Ok(processes) = fs::read_dir("/proc") else { return users };
    // The kernel names files by their real paths.
    let store = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    let store = format!("{}/", store.display());
    for process in processes.flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(maps) = fs::read_to_string(process.path().join("maps")) else { continue };
        let ours: Vec<&str> =
            maps.lines().filter_map(|line| Some(&line[line.find(&store)? + store.len() - 1..])).collect();
        for (directory, count) in &mut users {
            *count += i32::from(ours.iter().any(|path| path.contains(&format!("/{directory}/"))));
        }
    }
    users
}

/// The line that a vendor's free data must be shown with.
pub fn attribution(database_type: &str) -> Option<&'static str> {
    let starts = |with: &str| database_type.starts_with(with);
    if starts("GeoLite2") {
        Some("This product includes GeoLite2 data created by MaxMind, available from https://www.maxmind.com.")
    } else if starts("DBIP") {
        Some("IP Geolocation by DB-IP, https://db-ip.com.")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_editions_name_their_vendor_and_paid_ones_ask_for_nothing() {
        assert!(attribution("GeoLite2-ASN").is_some_and(|line| line.contains("MaxMind")));
        assert!(attribution("DBIP-City-Lite").is_some_and(|line| line.contains("DB-IP")));
        assert_eq!(attribution("GeoIP2-City"), None);
    }
}
