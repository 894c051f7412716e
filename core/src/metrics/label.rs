//! Closed lists of names, and a counter for each.

use std::marker::PhantomData;

/// A label with a closed list of values.
pub trait Label: Copy + 'static {
    /// All of them, in the order in which they are shown.
    fn all() -> impl Iterator<Item = Self>;

    /// Its place among them.
    fn index(self) -> usize;

    /// How it is shown.
    fn name(self) -> &'static str;
}

/// An enum whose values are the values of a label.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $crate::metrics::Label for $name {
            fn all() -> impl Iterator<Item = Self> {
                [$(Self::$value),+].into_iter()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

pub(super) use labels;

/// A counter for each value of a label.
#[derive(Clone, Debug)]
pub struct Counters<L> {
    counts: Box<[u64]>,
    label: PhantomData<L>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self {
            counts: vec![0; L::all().count()].into(),
            label: PhantomData,
        }
    }
}

impl<L: Label> Counters<L> {
    /// Counts one.
    pub fn add(&mut self, label: L) {
        self.add_many(label, 1);
    }

    /// Counts several.
    pub fn add_many(&mut self, label: L, count: u64) {
        if let Some(place) = self.counts.get_mut(label.index()) {
            *place = place.wrapping_add(count);
        }
    }

    /// How many there were.
    pub fn get(&self, label: L) -> u64 {
        self.counts.get(label.index()).copied().unwrap_or_default()
    }

    /// How many there were of each.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        L::all().map(|label| (label.name(), self.get(label)))
    }

    /// How many there were of each that there was at all.
    pub fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.all().filter(|(_, count)| *count > 0)
    }

    /// How many there were in all.
    pub fn sum(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::CallResult;

    #[test]
    fn each_value_has_a_place_of_its_own() {
        for (index, label) in CallResult::all().enumerate() {
            assert_eq!(label.index(), index);
        }
        let mut counters = Counters::default();
        counters.add(CallResult::Ok);
        counters.add_many(CallResult::Unavailable, 2);
        assert_eq!(counters.get(CallResult::Ok), 1);
        assert_eq!(counters.sum(), 3);
        let seen: Vec<_> = counters.seen().collect();
        assert_eq!(seen, [("ok", 1), ("unavailable", 2)]);
    }
}
