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
    /// Returns a path of ours, which is right by construction.
    pub fn of(path: String) -> Self {
        Self(path)
    }

    /// Returns the path that `text` is.
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

/// The name of a user or of a group, as `useradd` on Debian takes it without being forced.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AccountName(String);

impl AccountName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AccountName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A machine account of a directory ends in `$`; a number would be taken for an id.
        let stem = text.strip_suffix('$').unwrap_or(&text);
        let starts_well = stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_plain = stem.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !starts_well || !is_plain {
            return Err(de::Error::custom(format!(
                "{text:?} is not the name of an account: letters, digits, `_`, `-` and `.`, a letter or `_` first"
            )));
        }
        if text.len() > 32 {
            return Err(de::Error::custom(format!("the account name {text:?} is longer than 32 characters")));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for AccountName {
    fn schema_name() -> Cow<'static, str> {
        "AccountName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,31}[$]?$|\\{\\{",
            "description": "The name of a user or group"
        })
    }
}

impl Word for AccountName {
    fn write_to(&self, text: &mut String) {
        self.0.as_str().write_to(text);
    }
}

/// A time to wait: a number of seconds, or `30s`, `5m`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Seconds(u32);

impl Seconds {
    /// Returns a time of ours.
    pub const fn of(seconds: u32) -> Self {
        Self(seconds)
    }

    /// Returns the number of seconds.
    pub fn count(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 3600 && n % 3600 == 0 => write!(f, "{} h", n / 3600),
            n if n >= 60 && n % 60 == 0 => write!(f, "{} min", n / 60),
            n => write!(f, "{n} s"),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Time;

        impl de::Visitor<'_> for Time {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time: a number of seconds, or such as 30s, 5m or 2h")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let unit = match text.get(digits.len()..) {
                    Some("" | "s") => 1,
                    Some("m") => 60,
                    Some("h") => 3600,
                    _ => 0,
                };
                let count = digits.parse::<u32>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
                count.map(Seconds).ok_or_else(|| {
                    E::custom(format!("{text:?} is not a time: write a number of seconds, or such as 30s, 5m or 2h"))
                })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Seconds, E> {
                let count = u32::try_from(number).ok().filter(|n| *n > 0);
                count.map(Seconds).ok_or_else(|| E::custom(format!("{number} seconds is no time to wait")))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Seconds, E> {
                let count = u32::try_from(number).ok().filter(|n| *n > 0);
                count.map(Seconds).ok_or_else(|| E::custom(format!("{number} seconds is no time to wait")))
            }
        }

        deserializer.deserialize_any(Time)
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": "^[0-9]+[smh]?$|\\{\\{",
            "description": "A time: a number of seconds, or such as 30s, 5m or 2h"
        })
    }
}

/// A setting's value: a text, or a number, with single spaces between its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SettingValue(String);

impl SettingValue {
    /// Returns the value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SettingValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;

        impl de::Visitor<'_> for Value {
            type Value = SettingValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SettingValue, E> {
                Ok(SettingValue(text.split_whitespace().collect::<Vec<_>>().join(" ")))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<SettingValue, E> {
                Ok(SettingValue(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<SettingValue, E> {
                Ok(SettingValue(number.to_string()))
            }
        }

        deserializer.deserialize_any(Value)
    }
}

impl JsonSchema for SettingValue {
    fn schema_name() -> Cow<'static, str> {
        "SettingValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "description": "A text or a whole number" })
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

    #[test]
    fn an_account_name_cannot_be_an_option_a_number_or_shell_syntax() {
        let read = |text: &str| serde_json::from_value::<AccountName>(text.into()).map_err(|e| e.to_string());
        for good in ["alice", "_apt", "www-data", "j.martin", "HV1$"] {
            assert_eq!(read(good).unwrap().as_str(), good);
        }
        for bad in ["", "-r", "1000", "a b", "a:b", "$(id)", "é", "a/b", "a\n", "$", &"a".repeat(33)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_seconds_or_has_a_unit() {
        let read = |json: &str| serde_json::from_str::<Seconds>(json).map(Seconds::count).map_err(|e| e.to_string());
        assert_eq!(read("90").unwrap(), 90);
        assert_eq!(read("\"5m\"").unwrap(), 300);
        assert_eq!(read("\"2h\"").unwrap(), 7200);
        for bad in ["0", "-1", "\"5 m\"", "\"m\"", "\"1d\"", "\"99999999h\"", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(Seconds::of(7200).to_string(), "2 h");
        assert_eq!(Seconds::of(90).to_string(), "90 s");
    }
}
