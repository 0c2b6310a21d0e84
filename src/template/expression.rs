//! `when`: a CEL expression that is true or false for a host.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::{Context, Program, Value as CelValue};
use serde_json::Value;
use thiserror::Error;

/// Why an expression has no truth value.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ExpressionError {
    /// It is no CEL expression.
    #[error("the expression `{text}` is not well-formed: {why}")]
    Syntax {
        /// The expression.
        text: String,
        /// What the parser said.
        why: String,
        /// Where in the expression: the line and the column, both from 1.
        at: Option<(usize, usize)>,
    },
    /// It cannot be evaluated.
    #[error("the expression `{text}` cannot be evaluated: {why}")]
    Evaluation {
        /// The expression.
        text: String,
        /// What is missing or of the wrong type.
        why: String,
    },
    /// It is something else than true or false.
    #[error("the expression `{text}` is {found}, which is neither true nor false")]
    NotBoolean {
        /// The expression.
        text: String,
        /// What it is.
        found: String,
    },
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
    variables: BTreeSet<String>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({})", self.text)
    }
}

impl Expression {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let program = Program::compile(text).map_err(|error| {
            let first = error.errors.first();
            let at = first.and_then(|first| Some((first.pos.0.try_into().ok()?, first.pos.1.try_into().ok()?)));
            let why = error.to_string();
            let why = why.lines().next().unwrap_or("it cannot be parsed").trim_start_matches("ERROR: ").to_owned();
            ExpressionError::Syntax { text: text.to_owned(), why, at }
        })?;
        let variables = program.references().variables().into_iter().map(str::to_owned).collect();
        Ok(Self { text: text.into(), program: Arc::new(program), variables })
    }

    /// Returns the expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the expression uses the variable `name`.
    pub fn uses(&self, name: &str) -> bool {
        self.variables.contains(name)
    }

    /// Returns the words after `root.` in it: `os` for `facts.os.id`.
    pub fn mentions(&self, root: &str) -> Vec<String> {
        super::words_after(&self.text, root)
    }

    /// Returns the variables it uses that `context` does not have.
    pub fn unknown_variables<'a>(&'a self, context: &'a Value) -> impl Iterator<Item = &'a str> {
        self.variables.iter().map(String::as_str).filter(move |name| context.get(name).is_none())
    }

    /// Returns the variables it uses, sorted.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    /// Returns whether the expression is true for `context`.
    pub fn is_true(&self, context: &Value) -> Result<bool, ExpressionError> {
        let given: Vec<(&str, Given)> =
            self.variables.iter().filter_map(|name| Some((name.as_str(), Given::new(context.get(name)?)))).collect();
        let given: Vec<(&str, &Given)> = given.iter().map(|(name, value)| (*name, value)).collect();
        self.holds(&given)
    }

    /// Returns whether the expression is true with these variables.
    pub fn holds(&self, given: &[(&str, &Given)]) -> Result<bool, ExpressionError> {
        let failed = |why: String| ExpressionError::Evaluation { text: self.text.to_string(), why };
        let mut cel = Context::default();
        for (name, value) in given {
            cel.add_variable_from_value(*name, value.0.clone());
        }
        match self.program.execute(&cel) {
            Ok(CelValue::Bool(truth)) => Ok(truth),
            Ok(other) => Err(ExpressionError::NotBoolean {
                text: self.text.to_string(),
                found: format!("a {:?}", other.type_of()).to_lowercase(),
            }),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// A value made ready for expressions, so that one that many are asked about is made ready once.
#[derive(Clone, Debug)]
pub struct Given(CelValue);

impl Given {
    /// Makes a value ready.
    pub fn new(value: &Value) -> Self {
        Self(to_cel(value))
    }
}

/// Returns a value as CEL has it, where every integer is a signed one: CEL adds no unsigned number to a literal.
fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(truth) => CelValue::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => CelValue::Int(integer),
            (None, float) => CelValue::Float(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::from(text.as_str()),
        Value::Array(items) => CelValue::from(items.iter().map(to_cel).collect::<Vec<_>>()),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), to_cel(value)));
            CelValue::from(entries.collect::<std::collections::HashMap<String, CelValue>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_expression_is_true_or_false_or_a_clear_error() {
        let context = json!({"site": "par1", "roles": ["etcd"], "facts": {"os": {"id": "debian"}}, "n": 3});
        let is_true = |text: &str| Expression::parse(text).and_then(|e| e.is_true(&context));
        assert_eq!(is_true("site == \"par1\" && \"etcd\" in roles"), Ok(true));
        assert_eq!(is_true("n > 3 || facts.os.id != \"debian\""), Ok(false));
        assert!(matches!(is_true("n + 1"), Err(ExpressionError::NotBoolean { .. })));
        assert!(matches!(is_true("nope == 1"), Err(ExpressionError::Evaluation { .. })));
        assert!(matches!(is_true("site =="), Err(ExpressionError::Syntax { .. })));
        assert!(Expression::parse("facts.os.id == 'x'").unwrap().uses("facts"));
    }
}
