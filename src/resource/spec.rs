//! Types of arguments that several kinds share.

use std::borrow::Cow;
use std::fmt;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::shell::Word;

/// Whether a resource is to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is there.
    #[default]
    Present,
    /// It is not there.
    Absent,
}

impl Presence {
    /// Returns whether this is [`Presence::Absent`].
    pub fn is_absent(self) -> bool {
        self == Presence::Absent
    }
}

/// Permission bits: four octal digits in quotes, such as `"0644"`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mode(String);

impl Mode {
    /// Returns a mode of ours, which is right by construction.
    pub fn of(bits: u32) -> Self {
        Self(format!("{bits:04o}"))
    }

    /// Returns the mode as four octal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octal;

        impl de::Visitor<'_> for Octal {
            type Value = Mode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("permission bits as octal digits in quotes, such as \"0644\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                let digits = text.len() == 3 || text.len() == 4;
                if !digits || !text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
                    return Err(E::custom(format!(
                        "{text:?} is not a mode, which is three or four octal digits in quotes, such as \"0644\""
                    )));
                }
                Ok(Mode(format!("{text:0>4}")))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Mode, E> {
                Err(E::custom(format!(
                    "a mode without quotes is a number that YAML reads as decimal: write \"{number:0>4}\" in quotes"
                )))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Mode, E> {
                Err(E::custom(format!(
                    "a mode without quotes is a number that YAML reads as decimal: write \"{number:0>4}\" in quotes"
                )))
            }
        }

        deserializer.deserialize_any(Octal)
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-7]{3,4}$|\\{\\{",
            "description": "Permission bits: octal digits in quotes, such as \"0644\""
        })
    }
}

impl Word for Mode {
    fn write_to(&self, text: &mut String) {
        text.push_str(&self.0);
    }
}

/// An absolute path on a host, without `..`, doubled or trailing slashes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HostPath(String);

impl HostPath {
    /// Returns a path of ours.
    ///
    /// # Errors
    /// The text says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("{text:?} is not an absolute path"));
        }
        let trimmed = text.trim_end_matches('/');
        let path = if trimmed.is_empty() { "/" } else { trimmed };
        if path.split('/').skip(1).any(|part| part == ".." || part == "." || (part.is_empty() && path != "/")) {
            return Err(format!("the path {text:?} has `.`, `..` or `//` in it; write it plainly"));
        }
        if path.len() > 4095 {
            return Err(format!("a path of {} bytes is longer than Linux allows", path.len()));
        }
        Ok(Self(path.to_owned()))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the folder that holds it; `/` for `/`.
    pub fn folder(&self) -> &str {
        match self.0.rfind('/') {
            Some(0) | None => "/",
            Some(at) => self.0.get(..at).unwrap_or("/"),
        }
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for HostPath {
    fn schema_name() -> Cow<'static, str> {
        "HostPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^/|\\{\\{",
            "description": "An absolute path on the host"
        })
    }
}

impl Word for HostPath {
    fn write_to(&self, text: &mut String) {
        self.0.as_str().write_to(text);
    }
}

/// A path inside the project's `templates` or `files` folder, relative and without `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ProjectPath(Utf8PathBuf);

impl ProjectPath {
    /// Returns the path, relative to its folder.
    pub fn as_path(&self) -> &Utf8Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ProjectPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path = Utf8PathBuf::from(&text);
        let is_inside = path.components().all(|part| matches!(part, Utf8Component::Normal(_)));
        if text.is_empty() || !is_inside {
            return Err(de::Error::custom(format!("the path {text:?} does not lead into the project's own folder")));
        }
        Ok(Self(path))
    }
}

impl JsonSchema for ProjectPath {
    fn schema_name() -> Cow<'static, str> {
        "ProjectPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A path relative to the project's own folder for such files" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_digits_in_quotes() {
        let read = |json: &str| serde_json::from_str::<Mode>(json).map(|m| m.0).map_err(|e| e.to_string());
        assert_eq!(read("\"644\"").unwrap(), "0644");
        assert_eq!(read("\"4755\"").unwrap(), "4755");
        assert!(read("420").unwrap_err().starts_with("a mode without quotes is a number that YAML reads as decimal"));
        for bad in ["\"8\"", "\"0999\"", "\"rw-r--r--\"", "\"00644\"", "\"\""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_path_is_absolute_and_plain() {
        assert_eq!(HostPath::parse("/etc/").unwrap().as_str(), "/etc");
        assert_eq!(HostPath::parse("/").unwrap().as_str(), "/");
        assert_eq!(HostPath::parse("/a/b c").unwrap().folder(), "/a");
        assert_eq!(HostPath::parse("/a").unwrap().folder(), "/");
        for bad in ["etc", "", "/a/../b", "/a//b", "/./a"] {
            assert!(HostPath::parse(bad).is_err(), "{bad}");
        }
    }
}
