//! A value read from a file, each part of it with the place it stands at.
//!
//! Scalars keep the text as it was written and are resolved only when somebody asks: a string field gets `no`,
//! `0644` and `1.10` as they stand, an integer field gets a number or a located error. A [`Node`] is read into a
//! typed struct by serde ([`Node::read`], [`Node::read_all`]), so the struct's derives say what a file may hold,
//! and every error carries the span of the key or value that caused it.

mod de;
mod spanned;

use std::fmt;

use serde::Deserialize;
use serde_json::{Map as JsonMap, Number, Value as Json};

pub use self::spanned::{OneOrMany, Spanned};
use crate::diag::{Diagnostic, Diagnostics, Span};

/// A value and the place it stands at.
///
/// The span of a block collection is its first key or dash, not its whole extent: it is meant to be pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, a number, a boolean or nothing.
    Scalar(Scalar),
    /// A list.
    Seq(Vec<Node>),
    /// A map, in the order it was written.
    Map(Vec<(Key, Node)>),
}

/// The key of a map entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// The key as text: `22: ssh` has the key `22`.
    pub text: Box<str>,
}

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, after escapes and line folding.
    pub text: Box<str>,
    /// Whether it was quoted or a block scalar.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: may be a number, a boolean or null.
    Plain,
    /// In quotes or as a block scalar: always text.
    Quoted,
}

/// What a scalar means by the YAML 1.2 core schema, without the parts of it that lose text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolved<'a> {
    /// Empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer below zero.
    Negative(i64),
    /// An integer from zero.
    Unsigned(u64),
    /// A finite number with a fraction or exponent.
    Float(f64),
    /// Anything else.
    Text(&'a str),
}

impl Scalar {
    /// Returns a scalar that is text whatever it looks like.
    pub fn quoted(text: impl Into<Box<str>>) -> Self {
        Self { text: text.into(), style: Style::Quoted }
    }

    /// Returns a scalar as if written without quotes.
    pub fn plain(text: impl Into<Box<str>>) -> Self {
        Self { text: text.into(), style: Style::Plain }
    }

    /// Returns whether the scalar is null.
    pub fn is_null(&self) -> bool {
        is_null(&self.text, self.style)
    }

    /// Returns what the scalar means where no type is asked for.
    ///
    /// A number is one only if its text is how that number is written: `1.10`, `0644`, `1e3`, `0x1F` and integers
    /// beyond 64 bits stay text, because a template that prints them must print what the file says.
    pub fn resolve(&self) -> Resolved<'_> {
        resolve(&self.text, self.style)
    }
}

fn is_null(text: &str, style: Style) -> bool {
    style == Style::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn resolve(text: &str, style: Style) -> Resolved<'_> {
    if is_null(text, style) {
        return Resolved::Null;
    }
    if style == Style::Quoted {
        return Resolved::Text(text);
    }
    match text {
        "true" => return Resolved::Bool(true),
        "false" => return Resolved::Bool(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return Resolved::Text(text);
    }
    if let Ok(number) = text.parse::<u64>()
        && number.to_string() == text
    {
        return Resolved::Unsigned(number);
    }
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Resolved::Negative(number);
    }
    match float(text, style) {
        Some(number) if text.contains('.') && Number::from_f64(number).is_some_and(|n| n.to_string() == text) => {
            Resolved::Float(number)
        }
        _ => Resolved::Text(text),
    }
}

/// Returns the integer that a scalar is by the core schema: decimal without leading zeros, `0x` or `0o`.
fn integer(text: &str, style: Style) -> Option<i128> {
    if style == Style::Quoted {
        return None;
    }
    let digits = |text: &str, radix| {
        let all_digits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        all_digits.then(|| i128::from_str_radix(text, radix).ok()).flatten()
    };
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.len() > 1 && rest.starts_with('0') {
        return None;
    }
    digits(rest, 10).map(|number| if negative { -number } else { number })
}

/// Returns the finite number that a scalar is by the core schema.
fn float(text: &str, style: Style) -> Option<f64> {
    let looks = style == Style::Plain
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
        && text.chars().any(|c| c.is_ascii_digit());
    if !looks {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn describe_scalar(text: &str, style: Style) -> String {
    match resolve(text, style) {
        Resolved::Null => "nothing".to_owned(),
        Resolved::Text(text) if text.chars().count() > 40 => "a text".to_owned(),
        Resolved::Text(text) => format!("the text {text:?}"),
        _ => format!("`{text}`"),
    }
}

impl Node {
    /// Returns a node of text at `span`.
    pub fn text(span: Span, text: impl Into<Box<str>>) -> Self {
        Self { span, value: Value::Scalar(Scalar::quoted(text)) }
    }

    /// Returns the node that `json` says, all of it at `span`.
    pub fn from_json(span: Span, json: &Json) -> Self {
        let value = match json {
            Json::Null => Value::Scalar(Scalar::plain("null")),
            Json::Bool(flag) => Value::Scalar(Scalar::plain(flag.to_string())),
            Json::Number(number) => Value::Scalar(Scalar::plain(number.to_string())),
            Json::String(text) => Value::Scalar(Scalar::quoted(text.as_str())),
            Json::Array(items) => Value::Seq(items.iter().map(|item| Self::from_json(span, item)).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Key { span, text: key.as_str().into() }, Self::from_json(span, value)))
                    .collect(),
            ),
        };
        Self { span, value }
    }

    /// Returns the value as JSON, its scalars resolved by [`Scalar::resolve`].
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => Json::Null,
                Resolved::Bool(flag) => Json::Bool(flag),
                Resolved::Negative(number) => Json::from(number),
                Resolved::Unsigned(number) => Json::from(number),
                Resolved::Float(number) => Json::from(number),
                Resolved::Text(text) => Json::from(text),
            },
            Value::Seq(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                let mut map = JsonMap::with_capacity(entries.len());
                for (key, value) in entries {
                    map.insert(key.text.to_string(), value.to_json());
                }
                Json::Object(map)
            }
        }
    }

    /// Returns the text of a scalar that is not null, as it was written.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
            _ => None,
        }
    }

    /// Returns the entries of a map.
    pub fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entry of a map by its key, in time linear in the size of the map.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.as_map()?.iter().find(|(k, _)| &*k.text == key).map(|(k, v)| (k, v))
    }

    /// Returns the value under a key of a map, in time linear in the size of the map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Returns whether the value is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Returns what the value is, in the words of an error: `a map`, `a list`, `nothing`, `the text "x"`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Map(_) => "a map".to_owned(),
            Value::Seq(_) => "a list".to_owned(),
            Value::Scalar(scalar) => describe_scalar(&scalar.text, scalar.style),
        }
    }

    /// Reads the value into a type and returns the first error.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, NodeError> {
        de::read(self)
    }

    /// Reads the value into a type, or reports every error that can be told apart in one go.
    ///
    /// After an error the part that caused it is left out and the rest is read again, so three wrong fields are
    /// three diagnostics.
    pub fn read_all<'a, T: Deserialize<'a>>(&'a self, diags: &mut Diagnostics) -> Option<T> {
        self.read_all_at(self.span, diags)
    }

    /// Reads the value as [`read_all`](Self::read_all) does, with `owner` as the place at which a missing key is
    /// reported: the key that the value stands under.
    pub fn read_all_at<'a, T: Deserialize<'a>>(&'a self, owner: Span, diags: &mut Diagnostics) -> Option<T> {
        match de::read_all(self, owner) {
            Ok(value) => Some(value),
            Err(errors) => {
                diags.extend(errors.into_iter().map(Diagnostic::from));
                None
            }
        }
    }
}

/// What is wrong with a value that was read into a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeError {
    /// A stable word for machines.
    pub code: &'static str,
    /// The key or value that is wrong.
    pub span: Span,
    /// What is wrong with it.
    pub message: String,
    /// What would have been right, for an unknown key or variant.
    pub known: Vec<&'static str>,
    /// The key or variant that was given instead.
    pub given: Option<Box<str>>,
    /// What to do next, where it is not one of `known`.
    pub help: Option<Box<str>>,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NodeError {}

impl From<NodeError> for Diagnostic {
    fn from(error: NodeError) -> Self {
        let diagnostic = Self::error(error.code, error.message).at(error.span);
        match (error.help, error.given) {
            (Some(help), _) => diagnostic.help(help),
            (None, Some(given)) => diagnostic.suggest(&given, error.known),
            (None, None) => diagnostic,
        }
    }
}

#[cfg(test)]
mod tests;
