//! Names: of hosts and what the inventory sorts them by, of plays, kinds, resources and runs.
//!
//! Every other module speaks of things by these types and prints them in this one form, so a name in a plan, an
//! error, a log or on the command line can be pasted into any other. Nothing here knows what a name refers to.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name for `text`, taken as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The name of a host, unique in an inventory.
    HostName
);
name_type!(
    /// The name of a site, unique in an inventory.
    SiteName
);
name_type!(
    /// The name of a security zone, unique in an inventory.
    ZoneName
);
name_type!(
    /// The name of a network, unique in an inventory.
    NetworkName
);
name_type!(
    /// The name of a plane: a part of the fleet with an administration of its own.
    PlaneName
);
name_type!(
    /// The name of a group of hosts, unique in an inventory.
    GroupName
);
name_type!(
    /// The name of a play, unique in a playbook.
    PlayName
);
name_type!(
    /// The name of a resource kind, such as `file` or `apt.repository`.
    KindName
);
name_type!(
    /// The identifier of one run of the tool: a UTC time and a random tail, so that runs sort by time.
    RunId
);

/// A resource on one host, written `host/kind[name]` everywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceAddr {
    /// The host the resource is on.
    pub host: HostName,
    /// What the resource is and what it is called there.
    pub id: ResourceId,
}

/// A resource without its host, written `kind[name]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The kind of the resource.
    pub kind: KindName,
    /// The name, unique within the kind on one host: a path, a package, a user.
    pub name: Arc<str>,
}

impl ResourceId {
    /// Returns the identifier of the resource called `name` of a kind.
    pub fn new(kind: impl Into<KindName>, name: impl Into<Arc<str>>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }

    /// Returns this resource's address on `host`.
    pub fn on(&self, host: &HostName) -> ResourceAddr {
        ResourceAddr { host: host.clone(), id: self.clone() }
    }
}

/// Why a text is no resource address.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddrError {
    /// There is no `kind[name]` part.
    #[error("`{text}` is not a resource address, which is written `kind[name]` or `host/kind[name]`")]
    Shape {
        /// The text that was given.
        text: String,
    },
}

impl FromStr for ResourceId {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let shape = || AddrError::Shape { text: text.to_owned() };
        let (kind, rest) = text.split_once('[').ok_or_else(shape)?;
        let name = rest.strip_suffix(']').ok_or_else(shape)?;
        let kind_is_word = !kind.is_empty() && kind.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_');
        if !kind_is_word || name.is_empty() {
            return Err(shape());
        }
        Ok(Self::new(kind, name))
    }
}

impl FromStr for ResourceAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let shape = || AddrError::Shape { text: text.to_owned() };
        // A name may hold slashes (`file[/etc/hosts]`), a host never does: the first slash before the bracket splits.
        let bracket = text.find('[').ok_or_else(shape)?;
        let slash = text.find('/').filter(|at| *at < bracket).ok_or_else(shape)?;
        let (host, rest) = text.split_at(slash);
        let id = rest.strip_prefix('/').ok_or_else(shape)?.parse()?;
        if host.is_empty() {
            return Err(shape());
        }
        Ok(Self { host: HostName::from(host), id })
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.kind)?;
        // A newline or an escape sequence in a name must not forge a line of output.
        for c in self.name.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        f.write_str("]")
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ResourceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.id)
    }
}

impl fmt::Debug for ResourceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! serde_as_text {
    ($name:ident, $text:literal) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&RawForm(self))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $text })
            }
        }
    };
}

/// The written form without escapes, for machines: it parses back to the same address.
struct RawForm<'a, T>(&'a T);

impl fmt::Display for RawForm<'_, ResourceId> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.0.kind, self.0.name)
    }
}

impl fmt::Display for RawForm<'_, ResourceAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}[{}]", self.0.host, self.0.id.kind, self.0.id.name)
    }
}

serde_as_text!(ResourceId, "A resource, `kind[name]`");
serde_as_text!(ResourceAddr, "A resource on a host, `host/kind[name]`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let addr: ResourceAddr = "web-1/file[/etc/a [b]/c]".parse().unwrap();
        assert_eq!(addr.host.as_str(), "web-1");
        assert_eq!(&*addr.id.name, "/etc/a [b]/c");
        assert_eq!(addr.to_string().parse::<ResourceAddr>().unwrap(), addr);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "file", "file[]", "[x]", "file[x", "/file[x]", "File[x]"] {
            assert!(text.parse::<ResourceAddr>().is_err(), "{text:?}");
        }
        assert!("h/apt.repository[debian]".parse::<ResourceAddr>().is_ok());
    }

    #[test]
    fn a_control_character_in_a_name_is_shown_escaped_and_kept_in_json() {
        let id = ResourceId::new("file", "/tmp/a\nb");
        assert_eq!(id.to_string(), "file[/tmp/a\\nb]");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ResourceId>(&json).unwrap(), id);
    }
}
