//! Names of rooms and people, and the rules that they follow.

use std::fmt;

/// Longest name, bytes.
pub const MAX_LEN: usize = 128;
/// Characters that separate things elsewhere: lists, paths, topics, wildcards.
const FORBIDDEN: &[u8] = b".,/#*>";

/// The rule that a name broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a {0} must not be empty")]
    Empty(&'static str),
    /// It has too many.
    #[error("a {0} has at most {MAX_LEN} characters, this one has {1}")]
    TooLong(&'static str, usize),
    /// It has one that names don't have.
    #[error("a {0} is made of printable ASCII without space and . , / # * >, and not of {1:?}")]
    BadCharacter(&'static str, char),
    /// A Full ID whose ID is empty, e.g. `+k3x9`.
    #[error("a {0} needs something before the + and -screen")]
    NoBase(&'static str),
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty(what));
    }
    let bad = |c: &char| !c.is_ascii_graphic() || FORBIDDEN.contains(&(*c as u32).to_be_bytes()[3]);
    if let Some(c) = name.chars().find(bad) {
        return Err(NameError::BadCharacter(what, c));
    }
    if name.len() > MAX_LEN {
        return Err(NameError::TooLong(what, name.len()));
    }
    Ok(())
}

/// A room's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomName(String);

/// What one connection is called: `alice+k3x9`, unique in its role and room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FullId(String);

impl RoomName {
    /// Checks the rules.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check("room name", &name)?;
        Ok(Self(name))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FullId {
    /// Checks the rules.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check("ID", &name)?;
        let id = Self(name);
        if id.base().is_empty() {
            Err(NameError::NoBase("ID"))
        } else {
            Ok(id)
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose connection it is: the text before the first `+`, without a trailing `-screen`. Tokens belong to it, and
    /// nobody receives media of their own.
    pub fn base(&self) -> &str {
        let id = self.0.split('+').next().unwrap_or_default();
        id.strip_suffix("-screen").unwrap_or(id)
    }
}

impl TryFrom<String> for RoomName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for FullId {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl From<RoomName> for String {
    fn from(name: RoomName) -> Self {
        name.0
    }
}

impl From<FullId> for String {
    fn from(name: FullId) -> Self {
        name.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FullId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        for (full, base) in [
            ("alice", "alice"),
            ("alice+k3x9", "alice"),
            ("alice+k3+x9", "alice"),
            ("alice-screen", "alice"),
            ("alice-screen+k3x9", "alice"),
            ("alice-screen-screen", "alice-screen"),
        ] {
            assert_eq!(FullId::new(full).unwrap().base(), base);
        }
    }

    #[test]
    fn rules_are_named() {
        for (name, rule) in [
            ("", "empty"),
            ("a b", "' '"),
            ("a.b", "'.'"),
            ("a/b", "'/'"),
            ("a*", "'*'"),
            ("ä", "'ä'"),
            ("a\u{7f}", "'\\u{7f}'"),
            ("+x", "before the +"),
            ("-screen", "before the +"),
        ] {
            let error = FullId::new(name).unwrap_err().to_string();
            assert!(error.contains(rule), "{name:?}: {error}");
        }
        assert!(
            RoomName::new("x".repeat(129))
                .unwrap_err()
                .to_string()
                .contains("129")
        );
        assert!(RoomName::new("x".repeat(128)).is_ok());
        assert!(RoomName::new("~!@$%^&()_+`-={}|[]:\";'<?\\").is_ok());
    }
}
