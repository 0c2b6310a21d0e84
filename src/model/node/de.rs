//! The serde side of [`Node`]: a deserializer whose every error has a place.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::spanned::{ONE_OR_MANY, SPANNED};
use super::{Key, Node, NodeError, Resolved, Style, Value, describe_scalar, float, integer, is_null, resolve};
use crate::diag::Span;

/// More errors in one value than a person reads in one go.
const MAX_ERRORS: usize = 100;

pub(super) fn read<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, NodeError> {
    let skipped = BTreeSet::new();
    T::deserialize(De::new(node, node.span, &skipped)).map_err(|fault| fault.into_error(node.span))
}

/// Reads with the parts left out that failed before, until it succeeds or nothing is left to leave out.
pub(super) fn read_all<'a, T: Deserialize<'a>>(node: &'a Node, owner: Span) -> Result<T, Vec<NodeError>> {
    let mut skipped = BTreeSet::new();
    let mut errors = Vec::new();
    loop {
        let fault = match T::deserialize(De::new(node, owner, &skipped)) {
            Ok(value) if errors.is_empty() => return Ok(value),
            Ok(_) => return Err(errors),
            Err(fault) => fault,
        };
        let retry = fault.0.part.is_some_and(|part| skipped.insert(part));
        if !fault.0.echo {
            errors.push(fault.into_error(node.span));
        }
        if !retry || errors.len() >= MAX_ERRORS {
            return Err(errors);
        }
    }
}

/// An error on its way up to the first place that is known.
#[derive(Debug)]
struct Fault(Box<FaultInner>);

#[derive(Debug)]
struct FaultInner {
    code: &'static str,
    message: String,
    span: Option<Span>,
    known: Vec<&'static str>,
    given: Option<String>,
    help: Option<String>,
    /// The innermost entry or item that holds the error: what is left out when reading again.
    part: Option<Span>,
    /// The key that is missing.
    missing: Option<&'static str>,
    /// Whether the error is only a consequence of something left out.
    echo: bool,
}

impl Fault {
    fn new(code: &'static str, message: String) -> Self {
        Self(Box::new(FaultInner {
            code,
            message,
            span: None,
            known: Vec::new(),
            given: None,
            help: None,
            part: None,
            missing: None,
            echo: false,
        }))
    }

    fn at(mut self, span: Span) -> Self {
        self.0.span = self.0.span.or(Some(span));
        self
    }

    fn in_part(mut self, span: Span) -> Self {
        self.0.part = self.0.part.or(Some(span));
        self
    }

    fn help(mut self, help: &str) -> Self {
        self.0.help = Some(help.to_owned());
        self
    }

    fn into_error(self, root: Span) -> NodeError {
        let inner = *self.0;
        NodeError {
            code: inner.code,
            span: inner.span.unwrap_or(root),
            message: inner.message,
            known: inner.known,
            given: inner.given.map(Into::into),
            help: inner.help.map(Into::into),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fault {}

/// Returns whether `given` looks like a misspelt `key`.
fn is_near(given: &str, key: &str) -> bool {
    crate::diag::suggestion(given, [key]).is_some_and(|text| text.starts_with("did you mean"))
}

/// Returns what a reader expected, in the words of a YAML file instead of those of Rust.
fn expectation(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => "an integer from 0 to 255".to_owned(),
        "u16" => "an integer from 0 to 65535".to_owned(),
        "u32" => "an integer from 0 to 4294967295".to_owned(),
        "u64" | "usize" | "u128" => "an integer from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a string" | "str" | "a borrowed string" => "a text".to_owned(),
        "unit" => "nothing".to_owned(),
        _ if text.starts_with("struct ") => "a map".to_owned(),
        _ => text,
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("invalid-value", message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(flag) => format!("`{flag}`"),
            Unexpected::Unsigned(number) => format!("`{number}`"),
            Unexpected::Signed(number) => format!("`{number}`"),
            Unexpected::Float(number) => format!("`{number}`"),
            Unexpected::Str(text) => describe_scalar(text, Style::Quoted),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            other => other.to_string(),
        };
        Self::new("wrong-type", format!("expected {}, found {found}", expectation(expected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let mut fault = Self::invalid_type(unexpected, expected);
        fault.0.code = "invalid-value";
        fault
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new("invalid-value", format!("expected {}, found {length} items", expectation(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut fault = Self::new("unknown-value", format!("unknown value `{variant}`"));
        fault.0.given = Some(variant.to_owned());
        fault.0.known = expected.to_vec();
        fault
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut fault = Self::new("unknown-key", format!("unknown key `{field}`"));
        fault.0.given = Some(field.to_owned());
        fault.0.known = expected.to_vec();
        fault
    }

    fn missing_field(field: &'static str) -> Self {
        let mut fault = Self::new("missing-key", format!("the key `{field}` is missing"));
        fault.0.missing = Some(field);
        fault
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("duplicate-key", format!("the key `{field}` is given twice"))
    }
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Scalar(&'a str, Style),
    /// A key is text even where it looks like null.
    Key(&'a str),
    Seq(&'a [Node]),
    Map(&'a [(Key, Node)]),
}

#[derive(Clone, Copy)]
struct De<'a, 's> {
    span: Span,
    /// The key this stands under, at which a missing key is reported.
    owner: Span,
    part: Part<'a>,
    skipped: &'s BTreeSet<Span>,
}

impl<'a, 's> De<'a, 's> {
    fn new(node: &'a Node, owner: Span, skipped: &'s BTreeSet<Span>) -> Self {
        let part = match &node.value {
            Value::Scalar(scalar) => Part::Scalar(&scalar.text, scalar.style),
            Value::Seq(items) => Part::Seq(items),
            Value::Map(entries) => Part::Map(entries),
        };
        Self { span: node.span, owner, part, skipped }
    }

    fn key(key: &'a Key, skipped: &'s BTreeSet<Span>) -> Self {
        Self { span: key.span, owner: key.span, part: Part::Key(&key.text), skipped }
    }

    fn invalid(&self, expected: &dyn Expected) -> Fault {
        self.expected(&expectation(expected))
    }

    fn expected(&self, what: &str) -> Fault {
        let found = match self.part {
            Part::Scalar(text, style) => describe_scalar(text, style),
            Part::Key(text) => format!("`{text}`"),
            Part::Seq(_) => "a list".to_owned(),
            Part::Map(_) => "a map".to_owned(),
        };
        Fault::new("wrong-type", format!("expected {what}, found {found}")).at(self.span)
    }

    /// Gives an error that was raised here and has no place yet this value's place.
    fn place(&self, mut fault: Fault) -> Fault {
        if fault.0.span.is_some() {
            return fault;
        }
        if !self.skipped.is_empty() {
            let missing = fault.0.missing;
            fault.0.echo = match self.part {
                Part::Map(entries) => entries
                    .iter()
                    .filter(|(key, _)| self.skipped.contains(&key.span))
                    .any(|(key, _)| missing.is_none_or(|missing| *key.text == *missing || is_near(&key.text, missing))),
                Part::Seq(items) => items.iter().any(|item| self.skipped.contains(&item.span)),
                Part::Scalar(..) | Part::Key(_) => false,
            };
        }
        if fault.0.missing.is_some() {
            return fault.at(self.owner);
        }
        // The parsers of the standard library say `invalid digit found in string`, but not in which.
        if let Part::Scalar(text, _) | Part::Key(text) = self.part
            && fault.0.message.starts_with("invalid ")
            && text.chars().count() <= 60
        {
            fault.0.message.push_str(&format!(": `{}`", text.escape_debug()));
        }
        fault.at(self.span)
    }

    fn text(&self) -> Option<&'a str> {
        match self.part {
            Part::Scalar(text, style) if !is_null(text, style) => Some(text),
            Part::Key(text) => Some(text),
            _ => None,
        }
    }

    fn visit_integer<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (text, style) = match self.part {
            Part::Scalar(text, style) => (text, style),
            Part::Key(text) => (text, Style::Plain),
            Part::Seq(_) | Part::Map(_) => return Err(self.invalid(&visitor)),
        };
        let Some(number) = integer(text, style) else {
            let fault = self.invalid(&visitor);
            return Err(match (style, integer(text, Style::Plain)) {
                (Style::Quoted, Some(_)) => fault.help("remove the quotes"),
                _ if text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) => {
                    fault.help("an integer has no leading zero; an octal one is written `0o17`")
                }
                _ => fault,
            });
        };
        let visited = if let Ok(number) = u64::try_from(number) {
            visitor.visit_u64(number)
        } else if let Ok(number) = i64::try_from(number) {
            visitor.visit_i64(number)
        } else {
            return Err(self.invalid(&visitor));
        };
        visited.map_err(|fault| self.place(fault))
    }

    fn visit_float<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number = match self.part {
            Part::Scalar(text, style) => float(text, style),
            Part::Key(text) => float(text, Style::Plain),
            Part::Seq(_) | Part::Map(_) => None,
        };
        match number {
            Some(number) => visitor.visit_f64(number).map_err(|fault| self.place(fault)),
            None => Err(self.invalid(&visitor)),
        }
    }
}

macro_rules! forward {
    ($($method:ident)* => $to:ident) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$to(visitor)
        })*
    };
}

impl<'a> Deserializer<'a> for De<'a, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.part {
            Part::Key(text) => visitor.visit_borrowed_str(text).map_err(|fault| self.place(fault)),
            Part::Seq(_) => self.deserialize_seq(visitor),
            Part::Map(_) => self.deserialize_map(visitor),
            Part::Scalar(text, style) => match resolve(text, style) {
                Resolved::Null => visitor.visit_unit(),
                Resolved::Bool(flag) => visitor.visit_bool(flag),
                Resolved::Negative(number) => visitor.visit_i64(number),
                Resolved::Unsigned(number) => visitor.visit_u64(number),
                Resolved::Float(number) => visitor.visit_f64(number),
                Resolved::Text(text) => visitor.visit_borrowed_str(text),
            }
            .map_err(|fault| self.place(fault)),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.part {
            Part::Scalar("true", Style::Plain) => visitor.visit_bool(true).map_err(|fault| self.place(fault)),
            Part::Scalar("false", Style::Plain) => visitor.visit_bool(false).map_err(|fault| self.place(fault)),
            Part::Scalar("true" | "false", Style::Quoted) => Err(self.invalid(&visitor).help("remove the quotes")),
            Part::Scalar(text, Style::Plain) => Err(match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => self.invalid(&visitor).help("write `true`"),
                "no" | "off" | "n" | "false" => self.invalid(&visitor).help("write `false`"),
                _ => self.invalid(&visitor),
            }),
            _ => Err(self.invalid(&visitor)),
        }
    }

    forward! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 => visit_integer }
    forward! { deserialize_f32 deserialize_f64 => visit_float }
    forward! { deserialize_char deserialize_string deserialize_identifier => deserialize_str }
    forward! { deserialize_byte_buf => deserialize_bytes }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor.visit_borrowed_str(text).map_err(|fault| self.place(fault)),
            None if matches!(self.part, Part::Scalar(..)) => {
                Err(self.invalid(&visitor).help("an empty text is written \"\""))
            }
            None => Err(self.invalid(&visitor)),
        }
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        Err(self.invalid(&visitor))
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.part {
            Part::Scalar(text, style) if is_null(text, style) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|fault| self.place(fault))
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.part {
            Part::Scalar(text, style) if is_null(text, style) => {
                visitor.visit_unit().map_err(|fault| self.place(fault))
            }
            _ => Err(self.invalid(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match self.part {
            Part::Seq(_) if name == ONE_OR_MANY => self.deserialize_seq(visitor),
            _ if name == ONE_OR_MANY => visitor.visit_some(self).map_err(|fault| self.place(fault)),
            _ => visitor.visit_newtype_struct(self).map_err(|fault| self.place(fault)),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Part::Seq(items) = self.part else { return Err(self.invalid(&visitor)) };
        let mut access = Items { rest: items.iter(), skipped: self.skipped };
        let value = visitor.visit_seq(&mut access).map_err(|fault| self.place(fault))?;
        match access.rest.next() {
            None => Ok(value),
            Some(extra) => Err(Fault::new("invalid-value", "one item too many".to_owned()).at(extra.span)),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Part::Map(entries) = self.part else { return Err(self.invalid(&visitor)) };
        let access = Entries { rest: entries.iter(), value: None, skipped: self.skipped };
        visitor.visit_map(access).map_err(|fault| self.place(fault))
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == SPANNED {
            return visitor.visit_map(Located { of: self, step: 0 }).map_err(|fault| self.place(fault));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let choice = match self.part {
            _ if self.text().is_some() => Choice { tag: self, content: None },
            Part::Map([(key, value)]) => {
                Choice { tag: De::key(key, self.skipped), content: Some(De::new(value, key.span, self.skipped)) }
            }
            Part::Map(_) => {
                let known = variants.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ");
                let message = format!("expected exactly one of the keys {known}");
                return Err(Fault::new("wrong-type", message).at(self.span));
            }
            _ => {
                let known = variants.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ");
                return Err(self.expected(&format!("one of {known}")));
            }
        };
        visitor.visit_enum(choice).map_err(|fault| self.place(fault))
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

struct Items<'a, 's> {
    rest: std::slice::Iter<'a, Node>,
    skipped: &'s BTreeSet<Span>,
}

impl<'a> SeqAccess<'a> for &mut Items<'a, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let skipped = self.skipped;
        let Some(item) = self.rest.find(|item| skipped.is_empty() || !skipped.contains(&item.span)) else {
            return Ok(None);
        };
        let element = De::new(item, item.span, skipped);
        seed.deserialize(element).map(Some).map_err(|fault| element.place(fault).in_part(item.span))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'a, 's> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    value: Option<(&'a Key, &'a Node)>,
    skipped: &'s BTreeSet<Span>,
}

impl<'a> MapAccess<'a> for Entries<'a, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let skipped = self.skipped;
        let Some((key, value)) = self.rest.find(|(key, _)| skipped.is_empty() || !skipped.contains(&key.span)) else {
            return Ok(None);
        };
        self.value = Some((key, value));
        let name = De::key(key, skipped);
        seed.deserialize(name).map(Some).map_err(|fault| name.place(fault).in_part(key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.value.take() else {
            return Err(Fault::custom("a value was read before its key"));
        };
        let value = De::new(value, key.span, self.skipped);
        seed.deserialize(value).map_err(|fault| value.place(fault).in_part(key.span))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// What a `Spanned` reads: the three numbers of the span, then the value.
struct Located<'a, 's> {
    of: De<'a, 's>,
    step: usize,
}

impl<'a> MapAccess<'a> for Located<'a, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        match super::spanned::SPANNED_FIELDS.get(self.step) {
            Some(field) => seed.deserialize(BorrowedStrDeserializer::new(field)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let step = self.step;
        self.step += 1;
        match self.of.span.to_parts().get(step) {
            Some(number) => seed.deserialize(number.into_deserializer()),
            None => seed.deserialize(self.of),
        }
    }
}

/// A variant: a bare word, or a map with the variant as its one key.
struct Choice<'a, 's> {
    tag: De<'a, 's>,
    content: Option<De<'a, 's>>,
}

impl<'a, 's> EnumAccess<'a> for Choice<'a, 's> {
    type Error = Fault;
    type Variant = Content<'a, 's>;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Content<'a, 's>), Fault> {
        let tag = self.tag;
        let variant = seed.deserialize(tag).map_err(|fault| tag.place(fault))?;
        Ok((variant, Content { tag, content: self.content }))
    }
}

struct Content<'a, 's> {
    tag: De<'a, 's>,
    content: Option<De<'a, 's>>,
}

impl<'a, 's> Content<'a, 's> {
    fn required(self) -> Result<De<'a, 's>, Fault> {
        let name = self.tag.text().unwrap_or_default();
        self.content.ok_or_else(|| Fault::new("wrong-type", format!("`{name}` needs a value")).at(self.tag.span))
    }
}

impl<'a> VariantAccess<'a> for Content<'a, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(content) => Deserialize::deserialize(content),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Fault> {
        let content = self.required()?;
        seed.deserialize(content).map_err(|fault| content.place(fault))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.required()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.required()?.deserialize_map(visitor)
    }
}
