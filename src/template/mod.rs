//! Strict rendering of templates, and expressions over the same variables.
//!
//! Templates are handlebars: a variable that is missing is an error, also in `{{#if}}`, and nothing is escaped,
//! because what is rendered is a configuration file. Expressions (`when`) are CEL. Both see one context, a JSON
//! object; where its values come from is for others to know.

mod early;
mod expression;
mod helpers;

use std::sync::Arc;

use handlebars::{Handlebars, RenderErrorReason, Template, no_escape};
use serde_json::Value;
use thiserror::Error;

pub use expression::{Expression, ExpressionError, Given};
pub use helpers::HELPERS;

/// How a template asks for other hosts: a selector to the list of their data, or why that cannot be answered.
pub type Lookup = Arc<dyn Fn(&str) -> Result<Value, String> + Send + Sync>;

/// Why a template could not be rendered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// The line in the template, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The variable that is missing, where that is what is wrong.
    pub missing: Option<String>,
}

/// Renders templates. It is made once for a run.
pub struct Renderer {
    registry: Handlebars<'static>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renderer")
    }
}

impl Renderer {
    /// Returns a renderer whose `hosts` and `host_data` helpers ask `lookup`.
    pub fn new(lookup: Lookup) -> Self {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.register_escape_fn(no_escape);
        helpers::register(&mut registry, lookup);
        Self { registry }
    }

    /// Parses a template under a name, so that it can be rendered many times.
    ///
    /// # Errors
    /// A syntax error, with its place in the template.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), TemplateError> {
        self.registry.register_template_string(name, text).map_err(|error| syntax_error(&error))
    }

    /// Returns whether a template of this name was added.
    pub fn has(&self, name: &str) -> bool {
        self.registry.has_template(name)
    }

    /// Renders a template that was added before.
    pub fn render(&self, name: &str, context: &Value) -> Result<String, TemplateError> {
        self.registry.render(name, context).map_err(|error| render_error(&error))
    }

    /// Looks whether a template that was added before speaks of a variable that `context` lacks, without rendering it.
    ///
    /// # Errors
    /// The first such variable, unless it begins with one of `later`, which are still to come.
    pub fn check(&self, name: &str, context: &Value, later: &[&str]) -> Result<(), TemplateError> {
        let template = self.registry.get_template(name);
        template.and_then(|template| early::missing(template, context, later)).map_or(Ok(()), Err)
    }

    /// Looks at the text of an argument as `check` does at a template.
    ///
    /// # Errors
    /// As `check`; or a syntax error.
    pub fn check_value(&self, text: &str, context: &Value, later: &[&str]) -> Result<(), TemplateError> {
        let template = Template::compile(text).map_err(|error| syntax_error(&error))?;
        early::missing(&template, context, later).map_or(Ok(()), Err)
    }

    /// Renders the text of an argument. A text that is one `{{ path }}` keeps the type of what it names.
    pub fn render_value(&self, text: &str, context: &Value) -> Result<Value, TemplateError> {
        if !has_expression(text) {
            return Ok(Value::from(text));
        }
        if let Some(path) = single_path(text) {
            return lookup_path(context, path).cloned().ok_or_else(|| TemplateError {
                message: format!("there is no variable `{path}`"),
                line: 1,
                column: 1,
                missing: Some(path.to_owned()),
            });
        }
        self.registry.render_template(text, context).map(Value::from).map_err(|error| render_error(&error))
    }
}

/// Returns whether a text holds anything to be rendered.
pub fn has_expression(text: &str) -> bool {
    text.contains("{{")
}

/// Returns the second words of all `root.word` that stand between `{{` and `}}` in a template: `os` for `facts.os.id`.
pub fn mentions(text: &str, root: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in text.split("{{").skip(1) {
        let inside = piece.split("}}").next().unwrap_or(piece);
        found.extend(words_after(inside, root));
    }
    found
}

/// Returns the words that follow `root.` in an expression, each once.
pub(crate) fn words_after(expression: &str, root: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, _) in expression.match_indices(root) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let before = expression.get(..at).and_then(|text| text.chars().last());
        if before.is_some_and(|c| is_word(c) || c == '.') {
            continue;
        }
        let rest = expression.get(at + root.len()..).unwrap_or_default();
        let Some(rest) = rest.strip_prefix('.') else { continue };
        let word: String = rest.chars().take_while(|c| is_word(*c)).collect();
        if !word.is_empty() && !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

/// Returns the path of a text that is nothing but `{{ path }}`.
fn single_path(text: &str) -> Option<&str> {
    // What stands around it is text: the newline at the end of a file's content is meant.
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let is_path = !inside.is_empty()
        && inside != "this"
        && inside.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    is_path.then_some(inside)
}

/// Returns what stands at `a.b.0` in a context.
pub fn lookup_path<'a>(context: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(context, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

fn syntax_error(error: &handlebars::TemplateError) -> TemplateError {
    let (line, column) = error.pos().unwrap_or((1, 1));
    TemplateError {
        message: format!("the template is not well-formed: {}", error.reason()),
        line,
        column,
        missing: None,
    }
}

fn render_error(error: &handlebars::RenderError) -> TemplateError {
    let (line, column) = (error.line_no.unwrap_or(1), error.column_no.unwrap_or(1));
    let (message, missing) = match error.reason() {
        RenderErrorReason::MissingVariable(Some(path)) => {
            (format!("there is no variable `{path}`"), Some(path.clone()))
        }
        RenderErrorReason::HelperNotFound(name) => {
            (format!("there is no variable or helper `{name}`"), Some(name.clone()))
        }
        RenderErrorReason::TemplateError(inner) => return syntax_error(inner),
        RenderErrorReason::Other(text) => (text.clone(), None),
        reason => (reason.to_string(), None),
    };
    TemplateError { message, line, column, missing }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn renderer() -> Renderer {
        Renderer::new(Arc::new(|selector: &str| match selector {
            "role=etcd" => Ok(json!([{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.2"}])),
            other => Err(format!("`{other}` matches no host")),
        }))
    }

    fn render(text: &str, context: Value) -> Result<Value, TemplateError> {
        renderer().render_value(text, &context)
    }

    #[test]
    fn a_missing_variable_is_an_error_wherever_it_stands() {
        for text in [
            "{{x}}",
            "a {{x}}",
            "{{#if x}}a{{/if}}",
            "{{#unless x}}a{{/unless}}",
            "{{#each x}}a{{/each}}",
            "{{#with x}}a{{/with}}",
            "{{a.x}}",
            "{{join x \",\"}}",
            "{{#if (eq x 1)}}a{{/if}}",
        ] {
            let error = render(text, json!({"a": {}})).expect_err(text);
            assert!(error.message.contains('x'), "{text}: {error}");
        }
    }

    #[test]
    fn a_lone_expression_keeps_its_type() {
        let context = json!({"list": [1, "b"], "n": 3, "deep": {"x": true}});
        assert_eq!(render("{{ list }}", context.clone()).unwrap(), json!([1, "b"]));
        assert_eq!(render("{{n}}", context.clone()).unwrap(), json!(3));
        assert_eq!(render("{{ deep.x }}", context.clone()).unwrap(), json!(true));
        assert_eq!(render("n{{n}}", context.clone()).unwrap(), json!("n3"));
        assert_eq!(render("{{n}}\n", context).unwrap(), json!("3\n"));
    }

    #[test]
    fn nothing_is_escaped_and_a_list_or_map_is_not_printed_by_accident() {
        assert_eq!(render("a={{x}};", json!({"x": "<'&\">"})).unwrap(), json!("a=<'&\">;"));
    }

    #[test]
    fn helpers_speak_of_lists_addresses_and_other_hosts() {
        let context = json!({"list": ["a", "b"], "net": "10.1.0.0/16", "t": "x\ny"});
        for (text, expected) in [
            ("{{join list \",\"}}.", "a,b."),
            ("{{#if (contains list \"a\")}}y{{else}}n{{/if}}", "y"),
            ("{{netmask net}}.", "255.255.0.0."),
            ("{{prefix_of net}}.", "16."),
            ("{{nth_address net 5}}.", "10.1.0.5."),
            ("{{network_of \"10.0.0.5/24\"}}.", "10.0.0.0/24."),
            ("{{#each (hosts \"role=etcd\")}}{{name}}={{address}};{{/each}}", "a=10.0.0.1;b=10.0.0.2;"),
            ("{{upper \"a\"}}{{lower \"B\"}}{{replace \"a-b\" \"-\" \"_\"}}", "Aba_b"),
            ("{{indent 2 t}}.", "  x\n  y."),
            ("{{json list}}.", "[\"a\",\"b\"]."),
        ] {
            assert_eq!(render(text, context.clone()).expect(text), json!(expected), "{text}");
        }
        let error = render("{{#each (hosts \"role=nope\")}}{{/each}}", json!({})).unwrap_err();
        assert!(error.message.contains("matches no host"), "{error}");
    }

    #[test]
    fn a_variable_that_no_host_has_is_found_before_the_facts_are_there() {
        let context = json!({"a": {"b": 1}, "list": [{"x": 1}]});
        let check = |text: &str| renderer().check_value(text, &context, &["facts"]);
        for text in [
            "{{facts.os.id}} {{a.b}} {{#if a}}{{a.b}}{{else}}{{list.0.x}}{{/if}}",
            "{{#each list}}{{x}}{{../a}}{{@index}}{{#if y}}{{z}}{{/if}}{{/each}}{{#with a}}{{b}}{{/with}}",
            "{{join list \",\"}}{{upper (replace a.b \"x\" \"y\")}}{{#each (hosts \"role=etcd\")}}{{name}}{{/each}}",
            "{{{a.b}}}{{&a}}{{! nope }}{{this.a}}",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, place) in [
            ("{{facts.os.id}}\n {{x}}", (2, 2)),
            ("{{a.x}}", (1, 1)),
            ("{{#if x}}{{/if}}", (1, 1)),
            ("{{#if a}}\n{{x}}{{/if}}", (2, 1)),
            ("{{#if a}}{{else}}{{x}}{{/if}}", (1, 18)),
            ("{{#each x}}{{/each}}", (1, 1)),
            ("{{join x \",\"}}", (1, 1)),
            ("{{upper (lower x)}}", (1, 1)),
        ] {
            let error = check(text).expect_err(text);
            assert_eq!(((error.line, error.column), error.message.contains("no variable")), (place, true), "{text}");
        }
    }

    #[test]
    fn a_syntax_error_says_where() {
        let error = renderer().add("t", "a\nb {{#if x}}\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
    }

    #[test]
    fn mentioned_facts_are_found() {
        assert_eq!(mentions("facts.no {{ facts.os.id }} {{#if facts.cpu.count}}{{xfacts.z}}", "facts"), ["os", "cpu"]);
    }
}
