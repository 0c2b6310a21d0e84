//! Bytes of a host's answer, written as text in JSON where they are text.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that a host sent. In JSON they are a string, or `base64:` and their encoding where they are not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

const PREFIX: &str = "base64:";

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with(PREFIX) => serializer.serialize_str(text),
            _ => serializer.collect_str(&format_args!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix(PREFIX) {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map(Bytes).map_err(de::Error::custom),
            None => Ok(Bytes(text.into_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_json() {
        for bytes in [&b"text"[..], b"", b"\xff\x00", b"base64:x"] {
            let json = serde_json::to_string(&Bytes(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap().0, bytes);
        }
    }
}
