//! `KEY=VALUE` arguments: the values of a case's axes.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The arguments of one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    /// Reads `KEY=VALUE` words; a key that the workload does not take would go unnoticed, and is an error.
    pub(crate) fn parse(words: &[String], keys: &[&str]) -> Result<Self> {
        words
            .iter()
            .map(|word| match word.split_once('=') {
                Some((key, value)) if keys.contains(&key) => Ok((key.to_owned(), value.to_owned())),
                _ => Err(Error::Argument(word.clone())),
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The text of a key, or the default.
    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    /// The number of a key, or the default.
    pub(crate) fn number(&self, key: &str, default: usize) -> Result<usize> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| Error::Argument(format!("{key}={text}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args> {
        Args::parse(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
            &["size", "how"],
        )
    }

    #[test]
    fn reads_keys() {
        let args = parse(&["size=64", "how=a=b"]).unwrap();
        assert_eq!(args.number("size", 1).unwrap(), 64);
        assert_eq!(args.number("count", 7).unwrap(), 7);
        assert_eq!(args.text("how", "x"), "a=b");
        assert_eq!(args.text("what", "x"), "x");
    }

    #[test]
    fn refuses_other_words() {
        assert!(parse(&["size"]).is_err());
        assert!(parse(&["=3"]).is_err());
        assert!(parse(&["count=3"]).is_err());
        assert!(parse(&["size=many"]).unwrap().number("size", 1).is_err());
    }
}
