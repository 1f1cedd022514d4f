//! Which node of a cluster asks the network sources: one, so that an address is asked about once and a quota is one.

use enrich::cascade::Policy;

use super::heap;
use crate::pg::catalog::Schema;
use crate::pg::citus;
use crate::settings;
use crate::settings::NetworkNode;

/// Whether this server asks about the addresses of its inventory; otherwise another node does.
pub fn is_here(schema: &Schema) -> bool {
    match settings::network_node() {
        NetworkNode::local => true,
        NetworkNode::auto if !heap::is_everywhere(schema) => true,
        _ => !citus::is_here() || citus::is_coordinator(),
    }
}

/// What the sources may be asked, as new rows are told. Where another node asks, what is off here may be on there: such rows
/// are left pending, and that node decides.
pub fn policy(schema: &Schema) -> Policy {
    let policy = settings::policy();
    if is_here(schema) { policy } else { Policy { cymru: true, greynoise: true, ..policy } }
}
