//! XML as a plain tree: elements with a name, attributes, children and text.
//!
//! It is all that the rest knows of XML, and the only user of the XML crate. Comments and processing instructions are
//! dropped, names keep their prefix as it was written, and space between elements means nothing.

use indexmap::IndexMap;
use quick_xml::escape::{escape, resolve_xml_entity};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use thiserror::Error;

/// How deep elements may be nested; libvirt's own go to about ten.
const DEEPEST: usize = 64;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub attributes: IndexMap<String, String>,
    pub children: Vec<Element>,
    /// The text of an element without children; empty for others.
    pub text: String,
}

/// Why a text is not the XML of one element.
#[derive(Debug, Error)]
pub enum XmlError {
    /// It breaks a rule of XML.
    #[error("read XML at byte {at}")]
    Syntax {
        /// Where.
        at: u64,
        /// What is wrong.
        source: quick_xml::Error,
    },
    /// There is not exactly one element around all others.
    #[error("the XML is not one whole element")]
    NotOne,
    /// Elements are nested too deep.
    #[error("the XML is nested more than {DEEPEST} deep")]
    TooDeep,
    /// An entity that XML does not have.
    #[error("the XML speaks of the entity `{0}`, which it does not define")]
    Entity(String),
}

impl Element {
    /// Returns an element without anything in it.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Returns an element with text in it.
    pub fn of_text(name: &str, text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::new(name) }
    }

    /// Gives the element an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Gives the element an attribute, where there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a child.
    #[must_use]
    pub fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    #[must_use]
    pub fn and(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// Returns an attribute's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// Returns the children of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Returns the first element at a path of names, such as `source/device`.
    pub fn find(&self, path: &str) -> Option<&Element> {
        path.split('/').try_fold(self, |element, name| element.children.iter().find(|child| child.name == name))
    }

    /// Returns the text of the first element at a path, without the space around it.
    pub fn text_at(&self, path: &str) -> Option<&str> {
        self.find(path).map(|element| element.text.trim())
    }

    /// Returns an attribute of the first element at a path.
    pub fn get_at(&self, path: &str, attribute: &str) -> Option<&str> {
        self.find(path)?.get(attribute)
    }

    /// Removes the children of a name.
    pub fn remove(&mut self, name: &str) {
        self.children.retain(|child| child.name != name);
    }

    /// Puts elements in the place of the children of a name; at the end where there were none.
    pub fn replace(&mut self, name: &str, with: Vec<Element>) {
        let at = self.children.iter().position(|child| child.name == name).unwrap_or(self.children.len());
        self.remove(name);
        self.children.splice(at..at, with).for_each(drop);
    }

    /// Reads the XML of one element.
    ///
    /// # Errors
    /// The text is no XML, or not one element.
    pub fn parse(text: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(text);
        // The elements that are open, the outermost first.
        let mut open: Vec<Element> = Vec::new();
        let mut root = None;
        loop {
            let at = reader.buffer_position();
            let syntax = |source: quick_xml::Error| XmlError::Syntax { at, source };
            let closed = match reader.read_event().map_err(syntax)? {
                Event::Start(start) => {
                    open.push(begin(&start).map_err(syntax)?);
                    if open.len() > DEEPEST {
                        return Err(XmlError::TooDeep);
                    }
                    None
                }
                Event::Empty(start) => Some(begin(&start).map_err(syntax)?),
                Event::End(_) => Some(open.pop().ok_or(XmlError::NotOne)?),
                Event::Text(text) => {
                    let text = text.xml10_content().map_err(|e| syntax(e.into()))?;
                    add_text(&mut open, &text)?;
                    None
                }
                Event::CData(text) => {
                    let text = text.xml10_content().map_err(|e| syntax(e.into()))?;
                    add_text(&mut open, &text)?;
                    None
                }
                Event::GeneralRef(reference) => {
                    let name = reference.decode().map_err(|e| syntax(e.into()))?;
                    match reference.resolve_char_ref().map_err(syntax)? {
                        Some(c) => add_text(&mut open, c.encode_utf8(&mut [0; 4]))?,
                        None => {
                            let known = resolve_xml_entity(&name);
                            add_text(&mut open, known.ok_or_else(|| XmlError::Entity(name.into_owned()))?)?;
                        }
                    }
                    None
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
            };
            if let Some(mut element) = closed {
                if !element.children.is_empty() {
                    element.text.clear();
                }
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None if root.is_none() => root = Some(element),
                    None => return Err(XmlError::NotOne),
                }
            }
        }
        root.filter(|_| open.is_empty()).ok_or(XmlError::NotOne)
    }

    /// Returns the element as XML, a line for each element.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        out.push_str(&format!("{indent}<{}", self.name));
        for (name, value) in &self.attributes {
            out.push_str(&format!(" {name}='{}'", escape(value.as_str())));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>\n");
            return;
        }
        if self.children.is_empty() {
            out.push_str(&format!(">{}</{}>\n", escape(self.text.as_str()), self.name));
            return;
        }
        out.push_str(">\n");
        for child in &self.children {
            child.write(out, depth + 1);
        }
        out.push_str(&format!("{indent}</{}>\n", self.name));
    }
}

fn begin(start: &BytesStart<'_>) -> Result<Element, quick_xml::Error> {
    let mut element = Element::new(&String::from_utf8_lossy(start.name().as_ref()));
    for attribute in start.attributes() {
        let attribute = attribute?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0)?;
        element.attributes.insert(String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value.into_owned());
    }
    Ok(element)
}

/// Adds text to the innermost open element; outside of all elements only space may stand.
fn add_text(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::NotOne),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_definition_becomes_a_tree_and_is_written_again() {
        let text = "<?xml version='1.0'?>\n<!-- by hand -->\n<network connections='2'>\n  <name>a &amp; &#x62;</name>\n  <ip address=\"10.0.0.1\" prefix='24'>\n  </ip>\n  <x:y xmlns:x='urn:x'><![CDATA[<z>]]></x:y>\n</network>\n";
        let element = Element::parse(text).unwrap();
        assert_eq!(element.text_at("name"), Some("a & b"));
        assert_eq!(element.get_at("ip", "address"), Some("10.0.0.1"));
        insta::assert_snapshot!(element.render(), @r"
        <network connections='2'>
          <name>a &amp; b</name>
          <ip address='10.0.0.1' prefix='24'>
          </ip>
          <x:y xmlns:x='urn:x'>&lt;z&gt;</x:y>
        </network>
        ");
    }

    #[test]
    fn what_is_not_one_element_is_refused() {
        let said = |text: &str| Element::parse(text).unwrap_err().to_string();
        assert_eq!(said(""), "the XML is not one whole element");
        assert_eq!(said("<a/><b/>"), "the XML is not one whole element");
        assert_eq!(said("error: <a/>"), "the XML is not one whole element");
        assert_eq!(said("<a><b></a>"), "read XML at byte 6");
        assert_eq!(said("<a>"), "the XML is not one whole element");
        assert_eq!(said("<a>&bomb;</a>"), "the XML speaks of the entity `bomb`, which it does not define");
        assert_eq!(said(&"<a>".repeat(100_000)), "the XML is nested more than 64 deep");
    }

    #[test]
    fn children_are_replaced_where_they_stood() {
        let mut element = Element::parse("<a><b/><c n='1'/><d/><c n='2'/></a>").unwrap();
        element.replace("c", vec![Element::new("c").with("n", "3")]);
        element.replace("e", vec![Element::new("e")]);
        element.remove("b");
        assert_eq!(element, Element::parse("<a><c n='3'/><d/><e/></a>").unwrap());
    }

    fn any_element() -> impl Strategy<Value = Element> {
        let name = || "[a-z][a-z0-9:_-]{0,5}";
        // Line ends are the reader's to unify, and space around text has no meaning.
        let text = || "([!-~éß€]( [!-~])?){0,6}";
        let leaf = (name(), prop::collection::btree_map(name(), text(), 0..3), text()).prop_map(|(name, map, text)| {
            Element { name, attributes: map.into_iter().collect(), children: Vec::new(), text }
        });
        leaf.prop_recursive(3, 20, 4, move |inner| {
            (name(), prop::collection::vec(inner, 1..4)).prop_map(|(name, children)| Element {
                name,
                children,
                ..Element::default()
            })
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(element in any_element()) {
            prop_assert_eq!(Element::parse(&element.render()).unwrap(), element);
        }
    }
}
