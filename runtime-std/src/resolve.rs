//! From a host to addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, mpsc},
    thread,
};

use clawgate_core::policy::Endpoint;

use crate::{
    budget::{Budget, Interrupt},
    error::Problem,
    waiter::Waiter,
};

/// The system's resolver.
pub(crate) fn system(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (name, port).to_socket_addrs().map(Iterator::collect)
}

/// Literal addresses need no thread. Names are resolved in a thread of their own, because the
/// system's resolver can be neither cancelled nor given a deadline; a thread that is given up ends
/// with the resolver's own timeout.
pub(crate) fn resolve(
    endpoint: &Endpoint,
    lookup: impl FnOnce(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    waiter: &mut Waiter,
    budget: &Budget,
) -> Result<Result<Vec<SocketAddr>, Problem>, Interrupt> {
    let port = endpoint.port();
    if let Some(ip) = endpoint.host().ip() {
        return Ok(Ok(vec![SocketAddr::new(ip, port)]));
    }
    let name = endpoint.host().unbracketed().into_owned();
    let (sender, receiver) = mpsc::sync_channel::<io::Result<Vec<SocketAddr>>>(1);
    let waker = Arc::clone(waiter.waker());
    let spawned = thread::Builder::new()
        .name("clawgate-dns".into())
        .stack_size(256 * 1024)
        .spawn(move || {
            // Nobody listens any more when the deadline has passed.
            let _ = sender.send(lookup(&name, port));
            let _ = waker.wake();
        });
    if let Err(error) = spawned {
        return Ok(Err(Problem::System(error.to_string())));
    }
    loop {
        match receiver.try_recv() {
            Ok(Ok(found)) if found.is_empty() => {
                return Ok(Err(Problem::Dns("the name has no address".into())));
            }
            Ok(Ok(found)) => return Ok(Ok(interleave(found))),
            Ok(Err(error)) => return Ok(Err(Problem::Dns(error.to_string()))),
            Err(mpsc::TryRecvError::Disconnected) => {
                return Ok(Err(Problem::Dns("the resolver gave no answer".into())));
            }
            Err(mpsc::TryRecvError::Empty) => {}
        }
        if let Err(error) = waiter.wait_within(budget)? {
            return Ok(Err(Problem::System(error.to_string())));
        }
    }
}

/// Alternates between the families, the resolver's first choice first, so that a family without a
/// route costs one attempt and not all of them.
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = found.first().map(SocketAddr::ip) else {
        return found;
    };
    let same = |ip: IpAddr| ip.is_ipv6() == first.is_ipv6();
    let (mut a, mut b): (Vec<_>, Vec<_>) = found.into_iter().partition(|addr| same(addr.ip()));
    a.reverse();
    b.reverse();
    let mut mixed = Vec::with_capacity(a.len() + b.len());
    while let Some(addr) = a.pop() {
        mixed.push(addr);
        mixed.extend(b.pop());
    }
    b.reverse();
    mixed.extend(b);
    mixed.dedup();
    mixed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clawgate_core::policy::UrlPolicy;

    use super::*;
    use crate::budget::Cancel;

    fn endpoint() -> Endpoint {
        Endpoint::parse("wss://gw.example.com", UrlPolicy::Strict).unwrap()
    }

    #[test]
    fn a_resolver_that_hangs_is_left_at_the_deadline_or_on_cancellation() {
        for interrupt in [Interrupt::Deadline, Interrupt::Cancelled] {
            let cancel = Cancel::new();
            let total = match interrupt {
                Interrupt::Deadline => Duration::from_millis(20),
                Interrupt::Cancelled => Duration::from_secs(60),
            };
            let budget = Budget::new(Some(total), &cancel);
            let mut waiter = Waiter::new().unwrap();
            cancel.attach(waiter.waker());
            let (release, released) = mpsc::channel::<()>();
            let hang = move |_: &str, _: u16| {
                if interrupt == Interrupt::Cancelled {
                    cancel.cancel();
                }
                let _ = released.recv();
                Ok(Vec::new())
            };
            let result = resolve(&endpoint(), hang, &mut waiter, &budget);
            assert_eq!(result.unwrap_err(), interrupt);
            drop(release);
        }
    }

    #[test]
    fn what_the_resolver_says_is_passed_on() {
        let mut waiter = Waiter::new().unwrap();
        let budget = Budget::new(None, &Cancel::new());
        let mut ask = |answer: io::Result<Vec<SocketAddr>>| {
            let lookup = move |name: &str, port: u16| {
                assert_eq!((name, port), ("gw.example.com", 443));
                answer
            };
            resolve(&endpoint(), lookup, &mut waiter, &budget).unwrap()
        };
        let addr = "192.0.2.1:443".parse().unwrap();
        assert_eq!(ask(Ok(vec![addr])), Ok(vec![addr]));
        assert!(matches!(ask(Ok(Vec::new())), Err(Problem::Dns(_))));
        assert!(matches!(
            ask(Err(io::Error::other("x"))),
            Err(Problem::Dns(_))
        ));
    }

    #[test]
    fn families_alternate_and_none_is_lost() {
        let addrs = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
        let found = addrs(&[
            "[::1]:1",
            "[::2]:1",
            "127.0.0.1:1",
            "127.0.0.2:1",
            "127.0.0.3:1",
        ]);
        let mixed = addrs(&[
            "[::1]:1",
            "127.0.0.1:1",
            "[::2]:1",
            "127.0.0.2:1",
            "127.0.0.3:1",
        ]);
        assert_eq!(interleave(found), mixed);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }
}
