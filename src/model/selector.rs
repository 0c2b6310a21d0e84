//! Selectors: which hosts are meant, written the same in `hosts:`, `match:`, waivers and `--limit`.
//!
//! `role=hypervisor & site=par1 & !hv-par1-03`: terms joined by `&` and `|`, turned round by `!`, grouped by
//! parentheses. A term is `all`, the name of a host or group, a glob over host names, or `KEY=VALUE` with a value that
//! may be a glob. A name that nothing has is an error, and so is a selector that means no host: a typo must not
//! silently leave hosts out.

use std::fmt;

use globset::{Glob, GlobMatcher};

use super::inventory::{Host, Inventory};
use super::node::Spanned;
use crate::diag::{Diagnostic, Span, suggestion};

/// A parsed selector.
#[derive(Clone, Debug)]
pub struct Selector {
    text: Box<str>,
    expr: Expr,
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

#[derive(Clone, Debug)]
enum Expr {
    Any(Vec<Expr>),
    All(Vec<Expr>),
    Not(Box<Expr>),
    Term(Term),
}

/// One test of a host, with the place of its text.
#[derive(Clone, Debug)]
struct Term {
    test: Test,
    start: usize,
    end: usize,
}

#[derive(Clone, Debug)]
enum Test {
    /// Every host.
    Everything,
    /// The name of a host or group.
    Name(Box<str>),
    /// A glob over host names.
    NameGlob(Box<GlobMatcher>),
    /// A property of hosts and its value.
    Property(Key, Value),
}

#[derive(Clone, Debug)]
enum Value {
    Exact(Box<str>),
    Glob(Box<GlobMatcher>),
}

impl Value {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(value) => **value == *text,
            Self::Glob(glob) => glob.is_match(text),
        }
    }
}

/// What a term can ask of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Name,
    Site,
    Room,
    Rack,
    Plane,
    Role,
    Zone,
    Network,
    Group,
}

impl Key {
    const NAMES: [(&'static str, Self); 9] = [
        ("name", Self::Name),
        ("site", Self::Site),
        ("room", Self::Room),
        ("rack", Self::Rack),
        ("plane", Self::Plane),
        ("role", Self::Role),
        ("zone", Self::Zone),
        ("network", Self::Network),
        ("group", Self::Group),
    ];

    fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }
}

/// What is wrong with a selector, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// A stable word for machines.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The first byte of the part that is wrong.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// What to do next.
    pub help: Option<String>,
    /// The length of the whole text.
    length: usize,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at character {} of the selector)", self.message, self.start + 1)
    }
}

impl std::error::Error for SelectorError {}

impl SelectorError {
    /// Returns the problem as a diagnostic that points into the scalar at `span`.
    pub fn diagnostic(self, span: Span) -> Diagnostic {
        // The scalar's text starts at its span, or after a quote. If its length does not fit either (escapes, several
        // lines), only the scalar as a whole can be pointed at.
        let written = (span.end - span.start) as usize;
        let offset = match written.checked_sub(self.length) {
            Some(0) => Some(0),
            Some(2) => Some(1),
            _ => None,
        };
        let place = match offset {
            Some(offset) if self.end > self.start => Span {
                start: span.start + (offset + self.start) as u32,
                end: span.start + (offset + self.end) as u32,
                ..span
            },
            _ => span,
        };
        let diagnostic = Diagnostic::error(self.code, self.message).at(place);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

/// How deep parentheses and `!` may be nested.
const MAX_DEPTH: usize = 64;

/// The longest selector.
const MAX_LENGTH: usize = 64 * 1024;

impl Selector {
    /// Parses a selector. Whether its names exist is known only once it is used.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        if text.len() > MAX_LENGTH {
            return Err(parser.error(0, 0, "the selector is too long"));
        }
        let expr = parser.any()?;
        parser.skip_space();
        match parser.peek() {
            None => Ok(Self { text: text.into(), expr }),
            Some(')') => Err(parser.error_here("this `)` closes nothing")),
            Some(',') => Err(parser.error_here("a `,` means nothing in a selector").with_help("write `|` for \"or\"")),
            Some(_) => Err(parser
                .error_here("expected `&` or `|` before another term")
                .with_help("write `&` for \"and\", `|` for \"or\"")),
        }
    }

    /// Parses a selector that stands in a file.
    pub fn parse_at(text: &Spanned<String>) -> Result<Self, Box<Diagnostic>> {
        Self::parse(text).map_err(|error| Box::new(error.diagnostic(text.span)))
    }

    /// Returns the selector as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the hosts that are meant, in the order of the inventory; never none.
    pub fn select<'a>(&self, inventory: &'a Inventory) -> Result<Vec<&'a Host>, SelectorError> {
        let chosen = self.matches(inventory)?;
        let hosts = inventory.hosts.values().zip(chosen).filter(|(_, chosen)| *chosen).map(|(host, _)| host);
        Ok(hosts.collect())
    }

    /// Returns for each host of the inventory whether it is meant.
    pub(crate) fn matches(&self, inventory: &Inventory) -> Result<Vec<bool>, SelectorError> {
        let chosen = eval(&self.expr, inventory).map_err(|mut error| {
            error.length = self.text.len();
            error
        })?;
        if !chosen.contains(&true) {
            return Err(SelectorError {
                code: "empty-selector",
                message: format!("the selector `{}` matches no host", self.text),
                start: 0,
                end: self.text.len(),
                help: None,
                length: self.text.len(),
            });
        }
        Ok(chosen)
    }

    /// Calls `visit` with each group that the selector may refer to.
    pub(crate) fn visit_groups<'a>(&self, inventory: &'a Inventory, visit: &mut impl FnMut(usize, &'a str)) {
        visit_terms(&self.expr, &mut |term| {
            for (at, name) in inventory.groups.keys().enumerate() {
                let refers = match &term.test {
                    Test::Name(text) => **text == *name.as_str() && !inventory.hosts.contains_key(&**text),
                    Test::Property(Key::Group, value) => value.matches(name.as_str()),
                    _ => false,
                };
                if refers {
                    visit(at, name.as_str());
                }
            }
        });
    }
}

fn visit_terms(expr: &Expr, visit: &mut impl FnMut(&Term)) {
    match expr {
        Expr::Any(parts) | Expr::All(parts) => parts.iter().for_each(|part| visit_terms(part, visit)),
        Expr::Not(part) => visit_terms(part, visit),
        Expr::Term(term) => visit(term),
    }
}

fn eval(expr: &Expr, inventory: &Inventory) -> Result<Vec<bool>, SelectorError> {
    let join = |parts: &[Expr], start: bool, join: fn(&mut bool, bool)| {
        let mut chosen = vec![start; inventory.hosts.len()];
        for part in parts {
            for (chosen, part) in chosen.iter_mut().zip(eval(part, inventory)?) {
                join(chosen, part);
            }
        }
        Ok(chosen)
    };
    match expr {
        Expr::Any(parts) => join(parts, false, |chosen, part| *chosen |= part),
        Expr::All(parts) => join(parts, true, |chosen, part| *chosen &= part),
        Expr::Not(part) => {
            let mut chosen = eval(part, inventory)?;
            chosen.iter_mut().for_each(|chosen| *chosen = !*chosen);
            Ok(chosen)
        }
        Expr::Term(term) => eval_term(term, inventory),
    }
}

fn eval_term(term: &Term, inventory: &Inventory) -> Result<Vec<bool>, SelectorError> {
    let each = |test: &dyn Fn(&Host) -> bool| inventory.hosts.values().map(test).collect::<Vec<bool>>();
    let error = |message: String, help: Option<String>| SelectorError {
        code: "unknown-name",
        message,
        start: term.start,
        end: term.end,
        help,
        length: 0,
    };
    match &term.test {
        Test::Everything => Ok(vec![true; inventory.hosts.len()]),
        Test::Name(name) => {
            if let Some(at) = inventory.hosts.get_index_of(&**name) {
                let mut chosen = vec![false; inventory.hosts.len()];
                if let Some(chosen) = chosen.get_mut(at) {
                    *chosen = true;
                }
                return Ok(chosen);
            }
            if inventory.groups.contains_key(&**name) {
                return Ok(each(&|host| host.groups.iter().any(|group| group.as_str() == &**name)));
            }
            let as_property = Key::NAMES.iter().find_map(|(key_name, key)| {
                let has = key_values(*key, inventory).contains(&&**name);
                has.then(|| format!("did you mean `{key_name}={name}`?"))
            });
            let known = || {
                let hosts = inventory.hosts.keys().map(|host| host.as_str());
                suggestion(name, hosts.chain(inventory.groups.keys().map(|group| group.as_str())))
            };
            Err(error(format!("no host or group is called `{name}`"), as_property.or_else(known)))
        }
        Test::NameGlob(glob) => {
            let chosen = each(&|host| glob.is_match(host.name.as_str()));
            if chosen.contains(&true) {
                return Ok(chosen);
            }
            Err(error(format!("no host is called like `{}`", glob.glob().glob()), None))
        }
        Test::Property(key, value) => {
            let chosen = each(&|host| has(host, *key, value, inventory));
            if chosen.contains(&true) {
                return Ok(chosen);
            }
            // A declared zone without hosts is no typo; the selector as a whole must still find somebody.
            let known = key_values(*key, inventory);
            if known.iter().any(|known| value.matches(known)) {
                return Ok(chosen);
            }
            let (text, help) = match value {
                Value::Exact(text) => (&**text, suggestion(text, known)),
                Value::Glob(glob) => (glob.glob().glob(), None),
            };
            Err(error(format!("no {} is called `{text}`", key.as_str()), help))
        }
    }
}

fn has(host: &Host, key: Key, value: &Value, inventory: &Inventory) -> bool {
    let networks = || host.interfaces.values().filter_map(|interface| inventory.network_of(interface));
    match key {
        Key::Name => value.matches(host.name.as_str()),
        Key::Site => host.site.as_ref().is_some_and(|site| value.matches(site.as_str())),
        Key::Room => host.room.as_ref().is_some_and(|room| value.matches(room)),
        Key::Rack => host.rack.as_ref().is_some_and(|rack| value.matches(rack)),
        Key::Plane => host.plane.as_ref().is_some_and(|plane| value.matches(plane.as_str())),
        Key::Role => host.roles.iter().any(|role| value.matches(role)),
        Key::Group => host.groups.iter().any(|group| value.matches(group.as_str())),
        Key::Network => networks().any(|(name, _)| value.matches(name.as_str())),
        Key::Zone => networks().any(|(_, network)| value.matches(network.zone.as_str())),
    }
}

/// Returns the values that a key can have in an inventory, each once.
fn key_values(key: Key, inventory: &Inventory) -> Vec<&str> {
    let rooms = || inventory.sites.values().flat_map(|site| &site.rooms);
    let mut values: Vec<&str> = match key {
        Key::Name => inventory.hosts.keys().map(|name| name.as_str()).collect(),
        Key::Site => inventory.sites.keys().map(|name| name.as_str()).collect(),
        Key::Plane => inventory.planes.keys().map(|name| name.as_str()).collect(),
        Key::Zone => inventory.zones.keys().map(|name| name.as_str()).collect(),
        Key::Network => inventory.networks.keys().map(|name| name.as_str()).collect(),
        Key::Group => inventory.groups.keys().map(|name| name.as_str()).collect(),
        Key::Room => rooms().map(|(name, _)| name.as_str()).collect(),
        Key::Rack => rooms().flat_map(|(_, room)| room.racks.iter().map(|rack| rack.as_str())).collect(),
        Key::Role => inventory.hosts.values().flat_map(|host| host.roles.iter().map(|role| role.as_str())).collect(),
    };
    values.sort_unstable();
    values.dedup();
    values
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl SelectorError {
    fn with_help(mut self, help: &str) -> Self {
        self.help = Some(help.to_owned());
        self
    }
}

impl Parser<'_> {
    fn error(&self, start: usize, end: usize, message: impl Into<String>) -> SelectorError {
        SelectorError {
            code: "selector-syntax",
            message: message.into(),
            start,
            end,
            help: None,
            length: self.text.len(),
        }
    }

    fn error_here(&self, message: impl Into<String>) -> SelectorError {
        let length = self.peek().map_or(0, char::len_utf8);
        self.error(self.at, self.at + length, message)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += self.peek().map_or(0, char::len_utf8);
        }
    }

    /// Moves past `sign` if it comes next.
    fn take(&mut self, sign: char) -> bool {
        self.skip_space();
        let found = self.peek() == Some(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    fn any(&mut self) -> Result<Expr, SelectorError> {
        self.list('|', Self::all, Expr::Any)
    }

    fn all(&mut self) -> Result<Expr, SelectorError> {
        self.list('&', Self::not, Expr::All)
    }

    fn list(
        &mut self,
        sign: char,
        part: fn(&mut Self) -> Result<Expr, SelectorError>,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, SelectorError> {
        let first = part(self)?;
        let mut parts = vec![];
        while self.take(sign) {
            // `&&` and `||` are a habit from elsewhere.
            self.take(sign);
            parts.push(part(self)?);
        }
        if parts.is_empty() {
            return Ok(first);
        }
        parts.insert(0, first);
        Ok(join(parts))
    }

    fn not(&mut self) -> Result<Expr, SelectorError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error_here(format!("the selector is nested more than {MAX_DEPTH} deep")));
        }
        let expr = self.nested();
        self.depth -= 1;
        expr
    }

    fn nested(&mut self) -> Result<Expr, SelectorError> {
        if self.take('!') {
            return Ok(Expr::Not(Box::new(self.not()?)));
        }
        let open = self.at;
        if self.take('(') {
            let inner = self.any()?;
            if !self.take(')') {
                return Err(self.error(open, open + 1, "this `(` is not closed"));
            }
            return Ok(inner);
        }
        self.term().map(Expr::Term)
    }

    fn word(&mut self) -> (usize, &str) {
        self.skip_space();
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || "-_.*?[]/".contains(c)) {
            self.at += self.peek().map_or(0, char::len_utf8);
        }
        (start, self.text.get(start..self.at).unwrap_or_default())
    }

    fn term(&mut self) -> Result<Term, SelectorError> {
        let (start, word) = self.word();
        let word = word.to_owned();
        if word.is_empty() {
            return Err(match self.peek() {
                None if start == 0 => self.error_here("the selector is empty").with_help("write `all` for every host"),
                None => self.error_here("a term is missing at the end"),
                Some(c) => self.error_here(format!("expected a name or `KEY=VALUE`, found `{c}`")),
            });
        }
        let word_end = self.at;
        if !self.take('=') {
            self.at = word_end;
            let test = if word == "all" {
                Test::Everything
            } else {
                match self.value(&word, start)? {
                    Value::Exact(name) => Test::Name(name),
                    Value::Glob(glob) => Test::NameGlob(glob),
                }
            };
            return Ok(Term { test, start, end: word_end });
        }
        self.take('=');
        let Some((_, key)) = Key::NAMES.iter().find(|(name, _)| *name == word) else {
            let mut error = self.error(start, word_end, format!("hosts have no `{word}` to select by"));
            error.help = suggestion(&word, Key::NAMES.iter().map(|(name, _)| *name));
            return Err(error);
        };
        let (value_start, value) = self.word();
        let value = value.to_owned();
        if value.is_empty() {
            return Err(self.error_here(format!("a value is missing after `{word}=`")));
        }
        let value = self.value(&value, value_start)?;
        Ok(Term { test: Test::Property(*key, value), start, end: self.at })
    }

    fn value(&self, word: &str, start: usize) -> Result<Value, SelectorError> {
        if !word.contains(['*', '?', '[', ']']) {
            return Ok(Value::Exact(word.into()));
        }
        match Glob::new(word) {
            Ok(glob) => Ok(Value::Glob(Box::new(glob.compile_matcher()))),
            Err(error) => {
                Err(self.error(start, start + word.len(), format!("`{word}` is not a glob: {}", error.kind())))
            }
        }
    }
}

impl schemars::JsonSchema for Selector {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Selector".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "Which hosts are meant: `role=hypervisor & site=par1 & !hv-par1-03`"
        })
    }
}

impl<'de> serde::Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
