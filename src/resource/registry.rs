//! The list of kinds, one line each.

use std::sync::LazyLock;

use serde_json::Value;

use super::{Kind, Resource};
use crate::addr::KindName;
use crate::diag::{Diagnostics, Span};
use crate::model::node::Node;

/// What is known of a kind without a resource of it.
#[derive(Debug)]
pub struct KindEntry {
    /// The kind's name, as a task writes it.
    pub name: &'static str,
    /// One sentence on what it is.
    pub summary: &'static str,
    /// Tasks as a playbook has them.
    pub example: &'static str,
    /// Whether its resources are made from the flow matrix of the inventory.
    pub needs_flows: bool,
    schema: fn() -> Value,
    read: ReadSpec,
}

/// Reads a task's arguments, with the place that a missing argument is reported at.
type ReadSpec = fn(&Node, Span, &mut Diagnostics) -> Option<Box<dyn Resource>>;

impl KindEntry {
    const fn of<K: Kind>() -> Self {
        Self {
            name: K::NAME,
            summary: K::SUMMARY,
            example: K::EXAMPLE,
            needs_flows: K::NEEDS_FLOWS,
            schema: || {
                let settings = schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
                settings.into_generator().into_root_schema_for::<K>().to_value()
            },
            read: |arguments, owner, problems| {
                let spec = arguments.read_all_at::<K>(owner, problems)?;
                Some(Box::new(spec))
            },
        }
    }

    /// Returns the kind's name as a name.
    pub fn kind_name(&self) -> KindName {
        KindName::from(self.name)
    }

    /// Returns the JSON Schema of a task's arguments.
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// Returns the names of the arguments, for suggestions.
    pub fn arguments(&self) -> Vec<String> {
        let schema = self.schema();
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.map(|p| p.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns the resource that a task's arguments specify, or adds every mistake in them to `problems`.
    ///
    /// `owner` is where a missing argument is reported: the kind's name in the task.
    pub fn read(&self, arguments: &Node, owner: Span, problems: &mut Diagnostics) -> Option<Box<dyn Resource>> {
        (self.read)(arguments, owner, problems)
    }
}

static KINDS: LazyLock<Vec<KindEntry>> = LazyLock::new(|| {
    let mut kinds = vec![
        KindEntry::of::<super::apt_repository::AptRepository>(),
        KindEntry::of::<super::archive::Archive>(),
        KindEntry::of::<super::authorized_key::AuthorizedKey>(),
        KindEntry::of::<super::block::Block>(),
        KindEntry::of::<super::certificate::Certificate>(),
        KindEntry::of::<super::check::Check>(),
        KindEntry::of::<super::command::Command>(),
        KindEntry::of::<super::directory::Directory>(),
        KindEntry::of::<super::file::File>(),
        KindEntry::of::<super::firewall::Firewall>(),
        KindEntry::of::<super::group::Group>(),
        KindEntry::of::<super::hostname::Hostname>(),
        KindEntry::of::<super::hosts_entry::HostsEntry>(),
        KindEntry::of::<super::kernel_module::KernelModule>(),
        KindEntry::of::<super::libvirt::LibvirtDomain>(),
        KindEntry::of::<super::libvirt::LibvirtNetwork>(),
        KindEntry::of::<super::libvirt::LibvirtPool>(),
        KindEntry::of::<super::libvirt::LibvirtVolume>(),
        KindEntry::of::<super::link::Link>(),
        KindEntry::of::<super::mount::Mount>(),
        KindEntry::of::<super::network_link::NetworkLink>(),
        KindEntry::of::<super::package::Package>(),
        KindEntry::of::<super::reboot::Reboot>(),
        KindEntry::of::<super::service::Service>(),
        KindEntry::of::<super::sudoers::Sudoers>(),
        KindEntry::of::<super::sysctl::Sysctl>(),
        KindEntry::of::<super::timer::Timer>(),
        KindEntry::of::<super::timezone::Timezone>(),
        KindEntry::of::<super::unit::Unit>(),
        KindEntry::of::<super::user::User>(),
    ];
    kinds.sort_by_key(|kind| kind.name);
    kinds
});

/// Returns all kinds, by name.
pub fn kinds() -> &'static [KindEntry] {
    &KINDS
}

/// Returns the kind of this name.
pub fn find_kind(name: &str) -> Option<&'static KindEntry> {
    KINDS.iter().find(|kind| kind.name == name)
}
