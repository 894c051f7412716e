//! Sockets whose request head has not come yet, counted for each remote address, so that one host
//! cannot take all places from the others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    heads: Heads,
    ip: IpAddr,
}

impl Heads {
    /// Takes a place for a remote address, if it has fewer than `max`. Programs on this machine
    /// share one address and are not counted.
    pub(crate) fn take(&self, ip: IpAddr, max: usize) -> Option<Place> {
        let ip = ip.to_canonical();
        let place = || Place {
            heads: self.clone(),
            ip,
        };
        if ip.is_loopback() {
            return Some(place());
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(place())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.heads.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_fills_its_own_places_only() {
        let heads = Heads::default();
        let (one, other): (IpAddr, IpAddr) = (
            "203.0.113.1".parse().unwrap(),
            "::ffff:203.0.113.2".parse().unwrap(),
        );
        let first = heads.take(one, 1).unwrap();
        assert!(heads.take(one, 1).is_none());
        assert!(heads.take(other, 1).is_some());
        drop(first);
        assert!(heads.take(one, 1).is_some());
        assert!(heads.0.lock().unwrap().is_empty());
    }

    #[test]
    fn this_machine_is_not_counted() {
        let heads = Heads::default();
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let places: Vec<_> = (0..10).map(|_| heads.take(local, 1)).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
