//! The small values an inventory is made of: country codes, MAC addresses, port ranges, public keys.
//!
//! Each is checked where it is read, so an error points at the very value.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;

use base64::Engine as _;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A country, as its two capital letters in ISO 3166.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// Why a text is no [`Country`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a country is two capital letters such as `FR`, found `{text}`")]
pub struct CountryError {
    text: String,
}

/// The members of the European Union.
const EUROPEAN_UNION: &str = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK";

impl Country {
    /// Returns the two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns whether the country is a member of the European Union.
    pub fn is_in_european_union(&self) -> bool {
        EUROPEAN_UNION.split(' ').any(|member| member == self.as_str())
    }
}

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([*a, *b])),
            _ => Err(CountryError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A network such as `10.20.0.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(pub IpNet);

/// Why a text is no [`Cidr`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected a network such as `10.20.0.0/24`, found `{text}`")]
pub struct CidrError {
    text: String,
}

impl Deref for Cidr {
    type Target = IpNet;

    fn deref(&self) -> &IpNet {
        &self.0
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        text.parse().map(Self).map_err(|_| CidrError { text: text.to_owned() })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A network, or one address as the network of that address alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressOrCidr(pub IpNet);

impl FromStr for AddressOrCidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self(IpNet::from(address))),
            Err(_) => text.parse::<Cidr>().map(|cidr| Self(cidr.0)),
        }
    }
}

impl fmt::Display for AddressOrCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The address of a link, with the length of its network, such as `10.20.0.5/24`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkAddress(pub IpNet);

/// Why a text is no [`LinkAddress`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("expected an address with the length of its network such as `10.20.0.5/24`, found `{text}`")]
pub struct LinkAddressError {
    text: String,
}

impl FromStr for LinkAddress {
    type Err = LinkAddressError;

    fn from_str(text: &str) -> Result<Self, LinkAddressError> {
        text.parse().map(Self).map_err(|_| LinkAddressError { text: text.to_owned() })
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where a route leads: a network, or everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Everything of the router's family.
    Default,
    /// A network.
    Network(IpNet),
}

/// Why a text is no [`Destination`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a route leads to a network such as `10.30.0.0/16`, to an address or to `default`, found `{text}`")]
pub struct DestinationError {
    text: String,
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let network = text.parse::<AddressOrCidr>().ok().map(|network| network.0);
        // An address in the place of its network is as likely a slip in one as in the other.
        let network = network.filter(|network| *network == network.trunc());
        network.map(Self::Network).ok_or_else(|| DestinationError { text: text.to_owned() })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Network(network) => fmt::Display::fmt(network, f),
        }
    }
}

/// The hardware address of an Ethernet interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Why a text is no [`Mac`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits.
    #[error("a MAC address is six pairs of hexadecimal digits such as `52:54:00:12:34:56`, found `{text}`")]
    Shape {
        /// The text that was given.
        text: String,
    },
    /// A group address or zero.
    #[error("`{text}` cannot be the MAC address of one interface")]
    NotOne {
        /// The text that was given.
        text: String,
    },
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let shape = || MacError::Shape { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or_else(shape)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| shape())?;
        }
        if pairs.next().is_some() {
            return Err(shape());
        }
        let [first, ..] = bytes;
        if first & 1 == 1 || bytes == [0; 6] {
            return Err(MacError::NotOne { text: text.to_owned() });
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A port or a range of ports, both ends included: `22`, `30000-32767`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Why a text is no [`Ports`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a port is a number from 1 to 65535 or a range such as `30000-32767`, found `{text}`")]
pub struct PortsError {
    text: String,
}

impl FromStr for Ports {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let port = |text: &str| {
            let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            all_digits.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port != 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(PortsError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A public key in OpenSSH's one-line form. Only its structure is checked, not the key itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    line: Box<str>,
    algorithm_end: usize,
}

/// Why a text is no [`PublicKey`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PublicKeyError {
    /// Not `ALGORITHM BASE64 [COMMENT]`.
    #[error("a public key is one line such as `ssh-ed25519 AAAA… comment`")]
    Shape,
    /// An algorithm that is not one of OpenSSH's, or no longer.
    #[error("`{algorithm}` is not a key algorithm that is in use")]
    Algorithm {
        /// The algorithm that was given.
        algorithm: String,
    },
    /// The second word is not base64.
    #[error("the public key is not base64: part of it may be missing")]
    Base64,
    /// The decoded key does not hold together.
    #[error("the public key is damaged: it does not decode to a `{algorithm}` key")]
    Damaged {
        /// The algorithm that the line names.
        algorithm: String,
    },
    /// A private key.
    #[error("this is a private key, which must never stand in an inventory")]
    Private,
}

/// Algorithm names, each with how many strings follow the name in the encoded key.
const KEY_ALGORITHMS: &[(&str, usize)] = &[
    ("ssh-ed25519", 1),
    ("ssh-rsa", 2),
    ("ecdsa-sha2-nistp256", 2),
    ("ecdsa-sha2-nistp384", 2),
    ("ecdsa-sha2-nistp521", 2),
    ("sk-ssh-ed25519@openssh.com", 2),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
];

impl PublicKey {
    /// Returns the line as it was written.
    pub fn as_str(&self) -> &str {
        &self.line
    }

    /// Returns the algorithm, such as `ssh-ed25519`.
    pub fn algorithm(&self) -> &str {
        self.line.get(..self.algorithm_end).unwrap_or_default()
    }

    /// Returns the key in base64, without algorithm and comment.
    pub fn base64(&self) -> &str {
        self.line.split_ascii_whitespace().nth(1).unwrap_or_default()
    }

    /// Returns how many bits an RSA key has; none for a key of another algorithm.
    pub fn rsa_bits(&self) -> Option<usize> {
        if self.algorithm() != "ssh-rsa" {
            return None;
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.base64()).ok()?;
        let mut rest = bytes.as_slice();
        take_string(&mut rest)?;
        take_string(&mut rest)?;
        let modulus = take_string(&mut rest)?;
        let first = modulus.iter().position(|byte| *byte != 0)?;
        let leading = modulus.get(first)?.leading_zeros() as usize;
        Some((modulus.len() - first) * 8 - leading)
    }

    /// Returns whether the key is kept in a device that somebody has to touch.
    pub fn is_in_hardware(&self) -> bool {
        self.algorithm().starts_with("sk-")
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        let line = text.trim();
        if line.contains("PRIVATE KEY") {
            return Err(PublicKeyError::Private);
        }
        if line.contains('\n') {
            return Err(PublicKeyError::Shape);
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(algorithm), Some(base64)) = (words.next(), words.next()) else { return Err(PublicKeyError::Shape) };
        let Some((_, strings)) = KEY_ALGORITHMS.iter().find(|(name, _)| *name == algorithm) else {
            return Err(PublicKeyError::Algorithm { algorithm: algorithm.to_owned() });
        };
        let bytes = base64::engine::general_purpose::STANDARD.decode(base64).map_err(|_| PublicKeyError::Base64)?;
        let damaged = || PublicKeyError::Damaged { algorithm: algorithm.to_owned() };
        let mut rest = bytes.as_slice();
        let name = take_string(&mut rest).ok_or_else(damaged)?;
        if name != algorithm.as_bytes() {
            return Err(damaged());
        }
        for number in 0..*strings {
            let part = take_string(&mut rest).ok_or_else(damaged)?;
            let is_key = number == 0 && algorithm.contains("ssh-ed25519");
            if part.is_empty() || is_key && part.len() != 32 {
                return Err(damaged());
            }
        }
        if !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Self { line: line.into(), algorithm_end: algorithm.len() })
    }
}

/// Takes a string off the front of an SSH wire encoding: four bytes of length, then the bytes.
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.line)
    }
}

macro_rules! text_value {
    ($name:ident, $schema:tt) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text::<$name>(std::marker::PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Reads a value from its text, also where a plain number stands for it.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

text_value!(Country, {
    "type": "string",
    "pattern": "^[A-Z]{2}$",
    "description": "A country, as its two capital letters in ISO 3166"
});
text_value!(Cidr, {
    "type": "string",
    "description": "A network such as `10.20.0.0/24`"
});
text_value!(AddressOrCidr, {
    "type": "string",
    "description": "An address, or a network such as `10.20.0.0/24`"
});
text_value!(LinkAddress, {
    "type": "string",
    "description": "An address with the length of its network, such as `10.20.0.5/24`"
});
text_value!(Destination, {
    "type": "string",
    "description": "A network such as `10.30.0.0/16`, an address, or `default`"
});
text_value!(Mac, {
    "type": "string",
    "pattern": "^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$",
    "description": "A MAC address"
});
text_value!(Ports, {
    "type": ["integer", "string"],
    "pattern": "^[0-9]+(-[0-9]+)?$",
    "description": "A port, or a range such as `30000-32767`"
});
text_value!(PublicKey, {
    "type": "string",
    "description": "A public key in OpenSSH's one-line form: `ssh-ed25519 AAAA… comment`"
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_in_any_case_and_shown_in_one() {
        assert_eq!("52:54:00:AB:cd:ef".parse::<Mac>().unwrap().to_string(), "52:54:00:ab:cd:ef");
        assert_eq!("52-54-00-ab-cd-ef".parse::<Mac>().unwrap().to_string(), "52:54:00:ab:cd:ef");
        for text in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:00", "52:54:00:ab:cd:e", "zz:54:00:ab:cd:ef"] {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::Shape { .. })), "{text}");
        }
        for text in ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::NotOne { .. })), "{text}");
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        assert_eq!("22".parse::<Ports>().unwrap(), Ports { first: 22, last: 22 });
        assert_eq!("1-65535".parse::<Ports>().unwrap().to_string(), "1-65535");
        for text in ["0", "65536", "2-1", "-", "a", "1-2-3", "+1", ""] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_public_key_must_decode_to_what_it_says() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhVvGqUYYwxN8Mxc4XEPmhQ0hUFb3s9qCN8gH0B7cXk a@b";
        let parsed: PublicKey = key.parse().unwrap();
        assert_eq!(parsed.algorithm(), "ssh-ed25519");
        assert_eq!(parsed.to_string(), key);
        let cut = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhVvGqUYYwxN8Mxc4XEPmhQ0hUF";
        assert!(matches!(cut.parse::<PublicKey>(), Err(PublicKeyError::Damaged { .. })));
        let lying = key.replace("ssh-ed25519", "ssh-rsa");
        assert!(matches!(lying.parse::<PublicKey>(), Err(PublicKeyError::Damaged { .. })));
        assert_eq!("ssh-ed25519".parse::<PublicKey>(), Err(PublicKeyError::Shape));
        assert_eq!("ssh-ed25519 %%%".parse::<PublicKey>(), Err(PublicKeyError::Base64));
        assert!(matches!("ssh-dss AAAA".parse::<PublicKey>(), Err(PublicKeyError::Algorithm { .. })));
        assert_eq!("-----BEGIN OPENSSH PRIVATE KEY-----".parse::<PublicKey>(), Err(PublicKeyError::Private));
    }

    #[test]
    fn a_country_is_two_capitals() {
        assert!("FR".parse::<Country>().unwrap().is_in_european_union());
        assert!(!"US".parse::<Country>().unwrap().is_in_european_union());
        assert!("fr".parse::<Country>().is_err());
    }
}
