//! Shell text as a type: constant text with quoted words in it.
//!
//! [`Script`] is the only thing that reaches a host's `sh`. It is made by the [`sh!`](crate::sh) macro, which takes
//! a literal and quotes every word that is put into it, so no name, path or value can become syntax. Nothing
//! here runs anything.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// POSIX shell text whose variable parts are all quoted.
///
/// It has no `Display`: a script may hold a secret, and goes to a host's standard input only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Script(String);

impl Script {
    /// Returns constant text as a script.
    pub fn constant(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// Returns text that the inventory's author wrote to be run by a shell, such as a `command` task's.
    ///
    /// This is the only way in for text that is not a literal of ours, so that it can be found.
    pub fn from_author(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns `template` with each `{}` replaced by the next word, quoted.
    ///
    /// Use [`sh!`](crate::sh). There must be as many words as `{}`: a literal of ours that breaks this is found by
    /// the first test that builds it.
    pub fn fill(template: &'static str, words: &[&dyn Word]) -> Self {
        let mut text = String::with_capacity(template.len() + words.len() * 16);
        let mut pieces = template.split("{}");
        text.push_str(pieces.next().unwrap_or_default());
        let mut words = words.iter();
        for piece in pieces {
            let word = words.next().expect("a script has one word for each placeholder");
            word.write_to(&mut text);
            text.push_str(piece);
        }
        assert!(words.next().is_none(), "a script has one placeholder for each word: {template}");
        Self(text)
    }

    /// Returns the quoted words of `words`, one space between them.
    pub fn words<W: Word>(words: impl IntoIterator<Item = W>) -> Self {
        let mut text = String::new();
        for word in words {
            if !text.is_empty() {
                text.push(' ');
            }
            word.write_to(&mut text);
        }
        Self(text)
    }

    /// Adds `next` on a line of its own.
    #[must_use]
    pub fn then(mut self, next: Script) -> Self {
        self.push(&next);
        self
    }

    /// Adds `next` on a line of its own, in place.
    pub fn push(&mut self, next: &Script) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(&next.0);
    }

    /// Returns whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text, to be written to a shell's standard input.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({} bytes)", self.0.len())
    }
}

impl FromIterator<Script> for Script {
    fn from_iter<I: IntoIterator<Item = Script>>(scripts: I) -> Self {
        scripts.into_iter().fold(Script::default(), Script::then)
    }
}

/// What may be put into a script: text is quoted, a number stands for itself, a script is taken as it is.
pub trait Word {
    /// Writes the word, quoted where it needs to be.
    fn write_to(&self, text: &mut String);
}

impl Word for str {
    fn write_to(&self, text: &mut String) {
        text.push_str(&shlex::try_quote(self).expect("input with a NUL byte is refused when it is loaded"));
    }
}

impl Word for String {
    fn write_to(&self, text: &mut String) {
        self.as_str().write_to(text);
    }
}

impl Word for std::sync::Arc<str> {
    fn write_to(&self, text: &mut String) {
        (**self).write_to(text);
    }
}

impl Word for std::borrow::Cow<'_, str> {
    fn write_to(&self, text: &mut String) {
        (**self).write_to(text);
    }
}

impl Word for camino::Utf8PathBuf {
    fn write_to(&self, text: &mut String) {
        self.as_str().write_to(text);
    }
}

impl Word for Script {
    fn write_to(&self, text: &mut String) {
        text.push_str(&self.0);
    }
}

impl<W: Word + ?Sized> Word for &W {
    fn write_to(&self, text: &mut String) {
        (**self).write_to(text);
    }
}

macro_rules! number_word {
    ($($number:ty)*) => {$(
        impl Word for $number {
            fn write_to(&self, text: &mut String) {
                write!(text, "{self}").expect("writing to a string does not fail");
            }
        }
    )*};
}

number_word!(u16 u32 u64 usize i32);

/// Builds a [`Script`]: a literal, and one quoted word for each `{}` in it.
///
/// ```
/// let script = provision::sh!("mv -f -- {} {}", "a b", "$(c)");
/// assert_eq!(script.text(), "mv -f -- 'a b' '$(c)'");
/// ```
#[macro_export]
macro_rules! sh {
    ($template:literal $(, $word:expr)* $(,)?) => {
        $crate::shell::Script::fill($template, &[$(&$word as &dyn $crate::shell::Word),*])
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_word_reaches_the_command_as_it_was(word in "[^\0]*") {
            let script = sh!("printf %s {}", word);
            let output = std::process::Command::new("sh").arg("-c").arg(script.text()).output().unwrap();
            prop_assert_eq!(output.stdout, word.into_bytes());
        }
    }

    #[test]
    fn a_script_inside_a_script_is_not_quoted_again() {
        let inner = sh!("cat {}", "a b");
        assert_eq!(sh!("if {}; then :; fi", inner).text(), "if cat 'a b'; then :; fi");
        assert_eq!(Script::words(["a", "b c"]).text(), "a 'b c'");
    }
}
