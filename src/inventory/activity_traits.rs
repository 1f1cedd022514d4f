//! What addresses are, as activity is counted by it: country, AS, flags and lists, at the end of the time that is counted. So
//! a day says the same whenever it is counted, though its addresses belong to others now.

use std::collections::HashMap;
use std::net::IpAddr;

use enrich::campaign::batch::SWITCHED_OFF;
use enrich::source::Source;

use super::activity::Awaited;
use super::due;
use crate::pg::argument;
use crate::pg::catalog::Schema;
use crate::pg::inet::Inet;
use crate::pg::sql::Sql;
use crate::pg::time;
use crate::pg::tx::Settings;

/// Addresses whose traits are remembered in one call.
const REMEMBERED: usize = 2_000_000;

/// What is counted of an address, beside itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traits {
    pub country: String,
    pub asn: Option<i64>,
    pub flags: Vec<String>,
    pub lists: Vec<String>,
    /// Nobody knows its AS yet, and an answer may still come.
    pub awaited: Awaited,
}

/// What is known in one call.
pub struct Known<'a> {
    schema: &'a Schema,
    /// By number. The first are those of an address that is not in the inventory any more.
    traits: Vec<Traits>,
    numbers: HashMap<Traits, u32>,
    /// Of addresses, as they are now.
    of: HashMap<IpAddr, u32>,
    /// Whether any address has changed since the end of the last time that was asked about.
    any_since: Option<(i64, bool)>,
}

impl<'a> Known<'a> {
    /// Nothing yet.
    pub fn new(schema: &'a Schema) -> Known<'a> {
        let none = Traits::default();
        let numbers = HashMap::from([(none.clone(), 0)]);
        Known { schema, traits: vec![none], numbers, of: HashMap::new(), any_since: None }
    }

    /// The traits of that number.
    pub fn traits(&self, number: u32) -> &Traits {
        &self.traits[number as usize]
    }

    /// The numbers of the traits that addresses had at a moment, in their order. Of flags and lists, no history is kept: they
    /// are those of now.
    pub fn at(&mut self, batch: &[(IpAddr, i64)], moment: i64) -> Vec<u32> {
        self.learn(batch);
        let then = if self.has_changes_since(moment) { self.before_changes(batch, moment) } else { HashMap::new() };
        let number = |ip| then.get(ip).or_else(|| self.of.get(ip)).copied().unwrap_or(0);
        batch.iter().map(|(ip, _)| number(ip)).collect()
    }

    /// Finds out what some addresses are now.
    fn learn(&mut self, batch: &[(IpAddr, i64)]) {
        if self.of.len() > REMEMBERED {
            self.of.clear();
        }
        let unknown: Vec<IpAddr> = batch.iter().map(|(ip, _)| *ip).filter(|ip| !self.of.contains_key(ip)).collect();
        if unknown.is_empty() {
            return;
        }
        let _fetched = Settings::rows_are_fetched();
        let sql = Sql::on(self.schema, c"ip_inventory");
        let found = sql.query(
            &format!(
                "SELECT i.ip_address, i.asn_number, i.country_code, i.flags, i.lists,
                     i.asn_number IS NULL AND (i.maxmind_status = 'pending' OR i.ip_class = 'public' AND {}),
                     i.asn_number IS NULL AND i.ip_class = 'public' AND i.maxmind_status = 'unavailable',
                     i.asn_number IS NULL AND i.ip_class = 'public' AND i.cymru_status = 'skipped' AND i.cymru_detail = '{SWITCHED_OFF}'
                 FROM {}.ip_inventory i WHERE i.ip_address = ANY ($1)",
                // Failed ones too: they are asked about again.
                due::waiting(Source::Cymru),
                self.schema.name
            ),
            &[argument::addresses(&unknown)],
        );
        for row in 0..found.len() {
            let Some(Inet { ip, .. }) = found.get::<Inet>(row, 1) else { continue };
            let number = self.number(Traits {
                asn: found.get::<i64>(row, 2),
                country: found.text(row, 3).unwrap_or_default(),
                flags: found.texts(row, 4).unwrap_or_default(),
                lists: found.texts(row, 5).unwrap_or_default(),
                awaited: Awaited {
                    source: found.get::<bool>(row, 6) == Some(true),
                    files: found.get::<bool>(row, 7) == Some(true),
                    switch: found.get::<bool>(row, 8) == Some(true),
                },
            });
            self.of.insert(ip, number);
        }
    }

    fn number(&mut self, traits: Traits) -> u32 {
        if let Some(number) = self.numbers.get(&traits) {
            return *number;
        }
        let number = self.traits.len() as u32;
        self.traits.push(traits.clone());
        self.numbers.insert(traits, number);
        number
    }

    fn has_changes_since(&mut self, moment: i64) -> bool {
        if moment > time::now() {
            return false;
        }
        match self.any_since {
            Some((known, any)) if known == moment => any,
            _ => {
                let text = format!("SELECT 1 FROM {}.ip_asn_history WHERE changed_at >= $1 LIMIT 1", self.schema.name);
                let _fetched = Settings::rows_are_fetched();
                let sql = Sql::on(self.schema, c"ip_asn_history");
                let any = sql.query(&text, &[argument::moment(moment)]).len() > 0;
                self.any_since = Some((moment, any));
                any
            }
        }
    }

    /// Of those addresses that have changed since, what they were until the first change.
    fn before_changes(&mut self, batch: &[(IpAddr, i64)], moment: i64) -> HashMap<IpAddr, u32> {
        let ips: Vec<IpAddr> = batch.iter().map(|(ip, _)| *ip).collect();
        let fetched = Settings::rows_are_fetched();
        let sql = Sql::on(self.schema, c"ip_asn_history");
        // Before version 0.3.0 no country was kept with the AS: see ip_network_at().
        let found = sql.query(
            &format!(
                "SELECT h.ip_address, h.old_asn, h.old_country_code, h.old_asn IS NOT DISTINCT FROM h.new_asn
                     OR pg_catalog.num_nonnulls(h.old_org, h.old_country_code, h.new_country_code) > 0
                 FROM {}.ip_asn_history h WHERE h.ip_address = ANY ($1) AND h.changed_at >= $2
                 ORDER BY h.ip_address, h.changed_at",
                self.schema.name
            ),
            &[argument::addresses(&ips), argument::moment(moment)],
        );
        drop(fetched);
        let mut then = HashMap::new();
        for row in 0..found.len() {
            let Some(Inet { ip, .. }) = found.get::<Inet>(row, 1) else { continue };
            if then.contains_key(&ip) {
                continue;
            }
            let now = self.of.get(&ip).copied().unwrap_or(0);
            let mut traits = Traits { awaited: Awaited::default(), ..self.traits(now).clone() };
            // None, if no source knew one until then.
            traits.asn = found.get::<i64>(row, 2);
            if found.get::<bool>(row, 4) == Some(true) {
                traits.country = found.text(row, 3).unwrap_or_default();
            }
            then.insert(ip, self.number(traits));
        }
        then
    }
}
