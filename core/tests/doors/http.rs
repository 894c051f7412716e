//! The doors of HTTP: interfaces and probes, each mode with each credential, page and way to come.
//!
//! Tailscale logins, device tokens and join tokens are for the WebSocket alone (spec hostpolicy §5).

use std::collections::BTreeMap;

use clawgate_core::{
    gateway::{HttpRefusal, HttpRequest, HttpVerdict},
    policy::RequestHeaders,
    scope::Scope,
    server::PeerFacts,
};

use crate::{
    cells::{Credential as C, Mode, PEERS, Peer},
    scene::{Scene, way},
};

/// What the request says of the page that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// A program that calls the gateway by an address.
    Program,
    /// One that calls it by a name that says nothing.
    ProgramByName,
    /// A listed origin.
    Listed,
    Foreign,
    /// A page of another site that only reads, so that its browser names no origin.
    Reading,
    /// A page whose name was made to lead here.
    Rebound,
}

const PAGES: [Page; 6] = [
    Page::Program,
    Page::ProgramByName,
    Page::Listed,
    Page::Foreign,
    Page::Reading,
    Page::Rebound,
];

const CREDENTIALS: [C; 10] = [
    C::Nothing,
    C::Shared,
    C::SharedWrong,
    C::Previous,
    C::PreviousEnded,
    C::Own,
    C::Join,
    C::User,
    C::Stranger,
    C::Login,
];

#[derive(Clone, Copy, Debug)]
struct Cell {
    mode: Mode,
    credential: C,
    page: Page,
    peer: Peer,
}

impl Cell {
    fn fields(self, scene: &Scene) -> Vec<(&'static str, String)> {
        let mut fields: Vec<(&'static str, String)> = match self.page {
            Page::Program => vec![("host", "127.0.0.1:18789")],
            Page::ProgramByName => vec![("host", "gateway:18789"), ("user-agent", "curl/8")],
            Page::Listed => vec![
                ("host", "gw.example.com"),
                ("origin", "https://gw.example.com"),
            ],
            Page::Foreign => vec![
                ("host", "127.0.0.1"),
                ("origin", "https://evil.example.net"),
            ],
            Page::Reading => vec![
                ("host", "127.0.0.1:18789"),
                ("sec-fetch-site", "cross-site"),
            ],
            Page::Rebound => vec![
                ("host", "rebound.example.net"),
                ("user-agent", "Mozilla/5.0"),
            ],
        }
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
        match self.credential {
            C::User => fields.push(("x-user", "ann".into())),
            C::Stranger => fields.push(("x-user", "mallory".into())),
            C::Login => fields.push(("tailscale-user-login", "ann@example.org".into())),
            _ => {}
        }
        if let Some(secret) = scene.bearer(self.credential) {
            fields.push(("authorization", format!("Bearer {secret}")));
        }
        fields
    }

    fn peer(self, scene: &Scene) -> PeerFacts {
        if self.peer == Peer::Owner {
            return PeerFacts::owner();
        }
        let (ip, listener, forwarded) = way(self.peer);
        let fields = self.fields(scene);
        let forwarded = forwarded
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()));
        let headers = RequestHeaders::new(fields.into_iter().chain(forwarded));
        scene.facts(ip, listener, headers)
    }

    /// Whether nobody who is trusted says for whom the request is.
    fn is_nowhere(self) -> bool {
        let proxy = matches!(
            self.peer,
            Peer::Proxy
                | Peer::ProxyWithoutRequired
                | Peer::OwnAddressProxy
                | Peer::LoopbackProxy
                | Peer::Serve
                | Peer::Funnel
        );
        let named = matches!(
            self.peer,
            Peer::ProxyWithoutClient | Peer::SpoofedRemote | Peer::SpoofedLocal | Peer::ServeMarked
        );
        named || (self.credential == C::Login && !proxy)
    }

    fn is_local(self) -> bool {
        matches!(
            self.peer,
            Peer::Local
                | Peer::LocalOther
                | Peer::LocalV6
                | Peer::LocalMapped
                | Peer::LoopbackProxySilent
        ) && self.credential != C::Login
    }
}

/// The word for how a caller of an interface fares.
fn right(cell: Cell) -> String {
    if cell.peer == Peer::Owner {
        return "in by none".into();
    }
    // Pages first: a site that is not ours learns nothing, not even whether a secret is right.
    let direct =
        cell.is_local() || matches!(cell.peer, Peer::Lan | Peer::Remote | Peer::RemoteMapped);
    match cell.page {
        Page::Foreign | Page::Reading => return "origin".into(),
        Page::Rebound if direct && !cell.is_nowhere() => return "host".into(),
        _ => {}
    }
    if cell.is_nowhere() {
        return "nowhere".into();
    }
    let by_secret = |kind: &str| match cell.credential {
        C::Shared | C::Previous => format!("in by {kind}"),
        C::SharedWrong | C::PreviousEnded | C::Own | C::Join => format!("{kind}_mismatch"),
        _ => format!("{kind}_missing"),
    };
    let verdict = match cell.mode {
        Mode::None => "in by none".to_owned(),
        Mode::Token { .. } => by_secret("token"),
        Mode::Password { .. } => by_secret("password"),
        Mode::Proxy { loopback, password } => {
            let user = || match cell.credential {
                C::User if cell.peer == Peer::LoopbackProxySilent => "nowhere".to_owned(),
                C::User => "in by trusted-proxy".to_owned(),
                C::Stranger => "trusted_proxy_user_not_allowed".to_owned(),
                _ => "trusted_proxy_user_missing".to_owned(),
            };
            let refusal = match cell.peer {
                Peer::LoopbackProxy | Peer::LoopbackProxySilent if !loopback => {
                    "trusted_proxy_loopback_source".into()
                }
                Peer::OwnAddressProxy => "trusted_proxy_local_interface_source".into(),
                Peer::ProxyWithoutRequired => "trusted_proxy_missing_header_x-edge".into(),
                Peer::Proxy | Peer::LoopbackProxy | Peer::LoopbackProxySilent => user(),
                _ => "trusted_proxy_untrusted_source".to_owned(),
            };
            let secret = by_secret("password");
            if password
                && cell.is_local()
                && !refusal.starts_with("in ")
                && refusal != "nowhere"
                && !secret.ends_with("_missing")
            {
                secret
            } else {
                refusal
            }
        }
    };
    // Without a secret, whoever calls this machine must know what it is called.
    let loopback =
        cell.is_local() || matches!(cell.peer, Peer::LoopbackProxy | Peer::Serve | Peer::Funnel);
    let unnamed = matches!(cell.page, Page::ProgramByName | Page::Rebound);
    if matches!(&*verdict, "in by none" | "in by trusted-proxy") && loopback && unnamed {
        "host".into()
    } else {
        verdict
    }
}

fn word(refusal: &HttpRefusal) -> String {
    match refusal {
        HttpRefusal::Auth(reason, _) => reason.as_str().into_owned(),
        HttpRefusal::Host => "host".into(),
        HttpRefusal::Origin => "origin".into(),
        HttpRefusal::Unattributable { .. } => "nowhere".into(),
        HttpRefusal::MissingScope(_) => "scope".into(),
    }
}

fn cells(mode: Mode) -> impl Iterator<Item = Cell> {
    PEERS.into_iter().flat_map(move |peer| {
        PAGES.into_iter().flat_map(move |page| {
            CREDENTIALS.into_iter().map(move |credential| Cell {
                mode,
                credential,
                page,
                peer,
            })
        })
    })
}

const MODES: [Mode; 9] = [
    Mode::None,
    Mode::Token { tailscale: false },
    Mode::Token { tailscale: true },
    Mode::Password { tailscale: false },
    Mode::Password { tailscale: true },
    Mode::Proxy {
        loopback: false,
        password: false,
    },
    Mode::Proxy {
        loopback: false,
        password: true,
    },
    Mode::Proxy {
        loopback: true,
        password: false,
    },
    Mode::Proxy {
        loopback: true,
        password: true,
    },
];

#[test]
#[allow(clippy::print_stdout, reason = "a summary for whoever asks for it")]
fn every_door_of_http() {
    let mut wrong = Vec::new();
    let mut summary: BTreeMap<String, usize> = BTreeMap::new();
    let mut checked = 0;
    for mode in MODES {
        let mut scene = Scene::new(mode);
        for cell in cells(mode) {
            let peer = cell.peer(&scene);
            let found = scene.ask_http(cell.credential, |gateway, now| {
                match gateway.authorize_http(now, &peer) {
                    Ok(access) => {
                        assert!(access.require(Scope::Read).is_ok(), "{cell:?}");
                        format!("in by {}", access.granted.method())
                    }
                    Err(refusal) => word(&refusal),
                }
            });
            checked += 1;
            *summary.entry(found.clone()).or_default() += 1;
            let right = right(cell);
            if found != right {
                wrong.push(format!("{cell:?} should be {right:?} and is {found:?}"));
            }
        }
    }
    println!("{checked} cells: {summary:#?}");
    assert!(summary.len() > 15, "{summary:?}");
    let shown: Vec<&String> = wrong.iter().take(12).collect();
    assert!(
        wrong.is_empty(),
        "{} of {checked} cells: {shown:#?}",
        wrong.len()
    );
}

/// Whoever asks how the gateway is gets an answer; in detail, it is for callers of this machine and
/// for those who show the right secret.
#[test]
fn probes_tell_details_to_nobody_else() {
    for mode in MODES {
        let mut scene = Scene::new(mode);
        for cell in cells(mode) {
            let peer = cell.peer(&scene);
            for target in ["/healthz", "/readyz"] {
                let request = HttpRequest {
                    method: "GET",
                    target,
                    peer: &peer,
                };
                let answer = scene.ask_http(cell.credential, |gateway, now| {
                    match gateway.handle_http(now, &request) {
                        HttpVerdict::Answer(answer) => answer,
                        other @ (HttpVerdict::Body { .. }
                        | HttpVerdict::Metrics(_)
                        | HttpVerdict::Upgrade) => {
                            panic!("a probe was asked for: {cell:?}: {other:?}")
                        }
                    }
                });
                let detailed = answer.body.contains("uptimeMs");
                let named = matches!(cell.page, Page::Program | Page::Listed);
                let local = (cell.is_local() && named) || cell.peer == Peer::Owner;
                // A secret asks for the details of everything but the sign of life.
                let sent = scene.bearer(cell.credential).is_some() && cell.peer != Peer::Owner;
                let authorised = target == "/readyz" && sent && right(cell).starts_with("in ");
                assert_eq!(
                    detailed,
                    local || authorised,
                    "{target} {cell:?}: {}",
                    answer.body
                );
                let refused = target == "/readyz" && sent && !local && !authorised;
                assert_eq!(
                    answer.status != 200,
                    refused,
                    "{target} {cell:?}: {}",
                    answer.body
                );
                let cors = answer
                    .headers
                    .iter()
                    .any(|(name, _)| name.to_ascii_lowercase().starts_with("access-control"));
                assert!(!cors, "{cell:?}");
            }
        }
    }
}
