//! Asking a gateway whether it serves a page, by the way that every connection to it goes.

use clawgate_core::client::Route;

use crate::{
    budget::Budget,
    connection::Options,
    dial,
    error::{ConnectError, Problem},
    timings::{Stage, Timings},
    waiter::Waiter,
};

/// The head of an answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAnswer {
    /// The status, such as 200.
    pub status: u16,
    /// The type of the content, in lower case, without parameters.
    pub content_type: Option<String>,
    /// Where a redirect leads, as written.
    pub location: Option<String>,
}

impl PageAnswer {
    /// Whether it is a page for a browser.
    pub fn is_page(&self) -> bool {
        self.status == 200 && self.content_type.as_deref() == Some("text/html")
    }

    fn parse(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let (version, rest) = lines.next()?.split_once(' ')?;
        if !version.starts_with("HTTP/1.") {
            return None;
        }
        let status = rest.split(' ').next()?.parse().ok()?;
        let fields: Vec<(&str, &str)> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(':'))
            .collect();
        let field = |name: &str| {
            let (_, value) = fields
                .iter()
                .find(|(field, _)| field.trim().eq_ignore_ascii_case(name))?;
            Some(value.trim())
        };
        Some(Self {
            status,
            content_type: field("content-type")
                .and_then(|value| value.split(';').next())
                .map(|value| value.trim().to_ascii_lowercase()),
            location: field("location").map(str::to_owned),
        })
    }
}

/// Asks for the head of a page. The certificate is judged as for every connection of the route, and no
/// credential is sent but the headers for a proxy.
///
/// # Errors
/// When there is no connection, or what answers speaks no HTTP.
pub fn ask_for_page(
    route: &Route,
    path: &str,
    options: &Options,
) -> Result<PageAnswer, Box<ConnectError>> {
    let mut waiter = Waiter::new().map_err(|error| ConnectError::of_system(route, &error))?;
    let budget = Budget::new(options.total, &options.cancel);
    let head = dial::page(route, path, &mut waiter, &budget)?;
    PageAnswer::parse(&head).ok_or_else(|| {
        Box::new(ConnectError::new(
            route,
            Stage::Upgrade,
            Problem::NotWebSocket("it does not speak HTTP".into()),
            Timings::default(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let answer = PageAnswer::parse(
            b"HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-TYPE: Text/HTML; charset=utf-8\r\n\r\nbody",
        )
        .unwrap();
        assert!(answer.is_page(), "{answer:?}");
        let answer = PageAnswer::parse(b"HTTP/1.0 302 Found\r\nlocation: /ui/\r\n").unwrap();
        assert_eq!(answer.location.as_deref(), Some("/ui/"));
        assert!(!answer.is_page());
        for broken in [
            &b""[..],
            b"\xff\xff",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 many\r\n",
        ] {
            assert_eq!(PageAnswer::parse(broken), None);
        }
    }
}
