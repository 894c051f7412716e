//! Scopes of operators and what each implies (spec protocol §4).

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A scope that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum Scope {
    Admin,
    Approvals,
    Pairing,
    Questions,
    Read,
    SessionsRead,
    SessionsWrite,
    Talk,
    TalkSecrets,
    Write,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Admin,
        Self::Approvals,
        Self::Pairing,
        Self::Questions,
        Self::Read,
        Self::SessionsRead,
        Self::SessionsWrite,
        Self::Talk,
        Self::TalkSecrets,
        Self::Write,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "operator.admin",
            Self::Approvals => "operator.approvals",
            Self::Pairing => "operator.pairing",
            Self::Questions => "operator.questions",
            Self::Read => "operator.read",
            Self::SessionsRead => "operator.sessions.read",
            Self::SessionsWrite => "operator.sessions.write",
            Self::Talk => "operator.talk",
            Self::TalkSecrets => "operator.talk.secrets",
            Self::Write => "operator.write",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// Whether holding `self` is as good as holding `needed`.
    pub fn satisfies(self, needed: Self) -> bool {
        self == needed
            || match self {
                Self::Admin => true,
                Self::Write => matches!(
                    needed,
                    Self::Read | Self::Talk | Self::SessionsRead | Self::SessionsWrite
                ),
                Self::Read | Self::SessionsWrite => needed == Self::SessionsRead,
                Self::Approvals
                | Self::Pairing
                | Self::Questions
                | Self::SessionsRead
                | Self::Talk
                | Self::TalkSecrets => false,
            }
    }
}

/// The scopes of one connection. Unknown names are dropped: they could grant nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// No scope at all.
    pub const NONE: Self = Self(BTreeSet::new());

    /// Keeps the known ones of a list of names.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Self {
        Self(
            names
                .iter()
                .filter_map(|name| Scope::parse(name.as_ref()))
                .collect(),
        )
    }

    /// Whether some scope of the set satisfies `needed`.
    pub fn allows(&self, needed: Scope) -> bool {
        self.0.iter().any(|scope| scope.satisfies(needed))
    }

    /// What both sets allow. A proxy caps its users so (spec protocol §4).
    #[must_use]
    pub fn capped(&self, cap: &Self) -> Self {
        Scope::ALL
            .into_iter()
            .filter(|scope| self.allows(*scope) && cap.allows(*scope))
            .collect()
    }

    /// The names, for the wire.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|scope| scope.as_str().into()).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ScopeSet {
    /// Whether everything that `asked` allows is allowed by this set.
    pub fn covers(&self, asked: &Self) -> bool {
        asked.0.iter().all(|scope| self.allows(*scope))
    }

    /// Both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|scope| scope.as_str()))
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&Vec::<String>::deserialize(deserializer)?))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_implications_hold() {
        use Scope::{Admin, Read, SessionsRead, SessionsWrite, Talk, Write};
        for held in Scope::ALL {
            for needed in Scope::ALL {
                let implied = held == needed
                    || held == Admin
                    || (held == Write
                        && [Read, Talk, SessionsRead, SessionsWrite].contains(&needed))
                    || ([Read, SessionsWrite].contains(&held) && needed == SessionsRead);
                assert_eq!(held.satisfies(needed), implied, "{held:?} -> {needed:?}");
            }
        }
    }

    #[test]
    fn a_cap_never_widens() {
        let admin = ScopeSet::from_iter([Scope::Admin]);
        let reader = ScopeSet::from_iter([Scope::Read]);
        for (held, cap) in [(&admin, &reader), (&reader, &admin)] {
            let capped = held.capped(cap);
            assert!(capped.allows(Scope::Read));
            assert!(!capped.allows(Scope::Write) && !capped.allows(Scope::Admin));
        }
        assert!(admin.capped(&ScopeSet::NONE).is_empty());
    }

    #[test]
    fn a_set_covers_what_it_implies() {
        let writer = ScopeSet::from_iter([Scope::Write]);
        assert!(writer.covers(&ScopeSet::from_iter([Scope::Read, Scope::Talk])));
        assert!(!writer.covers(&ScopeSet::from_iter([Scope::Read, Scope::Pairing])));
        assert!(writer.covers(&ScopeSet::NONE));
        let text = serde_json::to_string(&writer).unwrap();
        assert_eq!(text, r#"["operator.write"]"#);
        assert_eq!(serde_json::from_str::<ScopeSet>(&text).unwrap(), writer);
    }

    #[test]
    fn unknown_names_grant_nothing() {
        let scopes = ScopeSet::parse(&["operator.root", "admin", "operator.admin "]);
        assert!(scopes.is_empty());
        assert!(!scopes.allows(Scope::Read));
    }
}
