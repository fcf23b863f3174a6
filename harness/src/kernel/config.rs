//! Configuration fragments, and whether the kernel took what they request.

use std::collections::BTreeMap;
use std::fmt;

use crate::kernel::KernelError;

/// A fragment: its name in messages and its text.
#[derive(Clone, Debug)]
pub(super) struct Fragment {
    /// Relative to the checkout.
    pub(super) file: String,
    /// Its contents.
    pub(super) text: String,
}

/// A request that `.config` does not fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The symbol, with `CONFIG_`.
    pub symbol: String,
    /// The value that was requested; `n` for none.
    pub wanted: String,
    /// The value in `.config`; `None` if the symbol is not in it at all.
    pub got: Option<String>,
    /// The fragment.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            symbol,
            wanted,
            got,
            file,
            line,
        } = self;
        let got = got.as_deref().unwrap_or("no such symbol");
        write!(f, "{symbol}: wanted {wanted}, got {got} ({file}:{line})")
    }
}

/// The requests of all fragments that `.config` does not fulfil; a later fragment overrules an earlier one.
pub(super) fn unmet(fragments: &[Fragment], config: &str) -> Result<Vec<Unmet>, KernelError> {
    let got: BTreeMap<_, _> = config.lines().filter_map(setting).collect();
    let mut wanted = BTreeMap::new();
    for Fragment { file, text } in fragments {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some((symbol, value)) = setting(line) {
                wanted.insert(symbol, (value, file, number));
            } else if !line.trim().is_empty() && !line.starts_with('#') {
                return Err(KernelError::Fragment {
                    file: file.clone(),
                    line: number,
                });
            }
        }
    }
    let missed = wanted
        .into_iter()
        .filter(|(symbol, (value, ..))| got.get(symbol).copied().unwrap_or("n") != *value);
    let mut unmet: Vec<_> = missed
        .map(|(symbol, (value, file, line))| Unmet {
            symbol: symbol.to_owned(),
            wanted: value.to_owned(),
            got: got.get(symbol).map(|&value| value.to_owned()),
            file: file.clone(),
            line,
        })
        .collect();
    unmet.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(unmet)
}

/// Symbol and value of a line of `.config` or of a fragment: `CONFIG_X=y`, `# CONFIG_X is not set`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    let (symbol, value) = match line.strip_prefix("# ") {
        Some(rest) => (rest.strip_suffix(" is not set")?, "n"),
        None => line.split_once('=')?,
    };
    let name = symbol.strip_prefix("CONFIG_")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(valid)).then_some((symbol, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=\"x=y\"\nCONFIG_I=42\n";

    fn check(fragments: &[&str], expected: &[&str]) {
        let fragments: Vec<_> = (1..)
            .zip(fragments)
            .map(|(n, &text)| Fragment {
                file: format!("{n}.config"),
                text: text.to_owned(),
            })
            .collect();
        let unmet: Vec<_> = match unmet(&fragments, CONFIG) {
            Ok(unmet) => unmet.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(unmet, expected);
    }

    #[test]
    fn what_is_as_requested_is_silent() {
        check(&["# why\n\nCONFIG_A=y\n# CONFIG_B is not set\n"], &[]);
        check(&["CONFIG_N=\"x=y\"\nCONFIG_I=42"], &[]);
        check(&["CONFIG_B=n\n# CONFIG_GONE is not set"], &[]);
    }

    #[test]
    fn what_is_not_names_symbol_values_and_line() {
        check(
            &[
                "# one\nCONFIG_GONE=y\n# CONFIG_A is not set",
                "CONFIG_B=y\nCONFIG_I=43",
            ],
            &[
                "CONFIG_GONE: wanted y, got no such symbol (1.config:2)",
                "CONFIG_A: wanted n, got y (1.config:3)",
                "CONFIG_B: wanted y, got n (2.config:1)",
                "CONFIG_I: wanted 43, got 42 (2.config:2)",
            ],
        );
    }

    #[test]
    fn the_last_fragment_decides() {
        check(&["# CONFIG_A is not set", "CONFIG_A=y"], &[]);
        check(
            &["CONFIG_A=y", "CONFIG_A=m"],
            &["CONFIG_A: wanted m, got y (2.config:1)"],
        );
    }

    #[test]
    fn a_line_that_requests_nothing_is_an_error() {
        let expected = "1.config:2: expected CONFIG_NAME=VALUE or # CONFIG_NAME is not set";
        check(&["CONFIG_A=y\nCONFIG_B"], &[expected]);
        check(&["CONFIG_A=y\nA=y"], &[expected]);
    }
}
