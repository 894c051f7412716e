//! `tailscale serve` and `tailscale funnel`: publishing the gateway under the machine's name in the
//! tailnet, without touching what somebody else has published there.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::{config::TailscaleMode, policy::Listener};

/// The arguments that show what is published.
pub const STATUS_ARGS: [&str; 3] = ["serve", "status", "--json"];

/// The port under which browsers look.
const HTTPS: &str = "443";

/// To whom the gateway is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// To the tailnet.
    Serve,
    /// To the internet.
    Funnel,
}

impl Publication {
    /// What a configuration asks for.
    pub const fn of_mode(mode: TailscaleMode) -> Option<Self> {
        match mode {
            TailscaleMode::Off => None,
            TailscaleMode::Serve => Some(Self::Serve),
            TailscaleMode::Funnel => Some(Self::Funnel),
        }
    }

    /// The listener that it forwards to.
    pub const fn listener(self) -> Listener {
        match self {
            Self::Serve => Listener::ManagedServe,
            Self::Funnel => Listener::ManagedFunnel,
        }
    }

    /// The subcommand.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Funnel => "funnel",
        }
    }
}

/// A route from the tailnet to a port of this machine.
///
/// ```
/// use clawgate_core::tailscale::{Publication, Route};
///
/// let route = Route { publication: Publication::Serve, port: 40_001 };
/// assert_eq!(
///     route.publish_args().join(" "),
///     "serve --bg --yes --https=443 --set-path=/ http://127.0.0.1:40001"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// To whom.
    pub publication: Publication,
    /// The port of the listener that nothing else may forward to.
    pub port: u16,
}

impl Route {
    /// Where it leads.
    pub fn target(self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of a target that was written down by [`Route::target`].
    pub fn port_of(target: &str) -> Option<u16> {
        target
            .trim()
            .strip_prefix("http://127.0.0.1:")?
            .parse()
            .ok()
    }

    /// The arguments that make it, in place of an earlier one of ours.
    pub fn publish_args(self) -> Vec<String> {
        let mut args = self.args();
        args.insert(1, "--bg".into());
        args.push(self.target());
        args
    }

    /// The arguments that end it. Other paths and ports stay.
    pub fn withdraw_args(self) -> Vec<String> {
        let mut args = self.args();
        args.push("off".into());
        args
    }

    fn args(self) -> Vec<String> {
        let command = self.publication.as_str();
        let https = format!("--https={HTTPS}");
        [command, "--yes", &https, "--set-path=/"]
            .map(Into::into)
            .to_vec()
    }
}

/// What is published, as [`STATUS_ARGS`] shows it.
#[derive(Clone, Debug, Default)]
pub struct ServeStatus {
    lasting: Section,
    /// What ends with the program that holds it.
    held: Vec<Section>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Section {
    #[serde(rename = "TCP")]
    tcp: Option<BTreeMap<String, Port>>,
    web: Option<BTreeMap<String, Site>>,
    foreground: Option<BTreeMap<String, Self>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    #[serde(rename = "TCPForward")]
    forward: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Site {
    handlers: Option<BTreeMap<String, Handler>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Handler {
    proxy: Option<String>,
}

/// The output is not what the program prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("`tailscale serve status --json` gave no JSON that can be read")]
pub struct BadStatus;

/// The place is taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "HTTPS port 443 of this machine's tailnet name is already used by {by}; remove that route with \
     `tailscale serve --https=443 off`, or set gateway.tailscale.mode to \"off\""
)]
pub struct RouteTaken {
    /// What uses it.
    pub by: String,
}

impl ServeStatus {
    /// Reads the output.
    ///
    /// # Errors
    /// [`BadStatus`].
    pub fn parse(output: &[u8]) -> Result<Self, BadStatus> {
        let text = output.trim_ascii();
        if text.is_empty() {
            return Ok(Self::default());
        }
        // An array would be taken for fields in order.
        if !text.starts_with(b"{") {
            return Err(BadStatus);
        }
        let mut lasting: Section = serde_json::from_slice(text).map_err(|_| BadStatus)?;
        let held = lasting
            .foreground
            .take()
            .unwrap_or_default()
            .into_values()
            .collect();
        Ok(Self { lasting, held })
    }

    /// Whether the gateway may publish itself: nobody else uses the root of the port. `earlier` is
    /// the target of our last route, which may be replaced.
    ///
    /// # Errors
    /// [`RouteTaken`].
    pub fn check_free(&self, earlier: Option<&str>) -> Result<(), RouteTaken> {
        if let Some(held) = self.held.iter().find(|held| held.uses_port()) {
            let by = held.root().map(|(_, handler)| handler.described());
            let by = by.unwrap_or_else(|| "a program that holds it".into());
            return Err(RouteTaken { by });
        }
        if let Some(forward) = self.lasting.forward() {
            return Err(RouteTaken {
                by: format!("a TCP route to {forward:.200}"),
            });
        }
        match self.lasting.root() {
            Some((_, handler)) if earlier.is_none_or(|ours| !handler.leads_to(ours)) => {
                Err(RouteTaken {
                    by: handler.described(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The URL under which a route to `target` is published, if it is.
    pub fn url_of(&self, target: &str) -> Option<String> {
        let (host, handler) = self.lasting.root()?;
        handler.leads_to(target).then(|| format!("https://{host}"))
    }
}

impl Section {
    fn uses_port(&self) -> bool {
        self.forward().is_some() || self.sites().next().is_some()
    }

    fn forward(&self) -> Option<&str> {
        self.tcp.as_ref()?.get(HTTPS)?.forward.as_deref()
    }

    /// Hosts with something on the port.
    fn sites(&self) -> impl Iterator<Item = (&str, &Site)> {
        self.web
            .iter()
            .flatten()
            .filter_map(|(host, site)| match host.rsplit_once(':')? {
                (host, HTTPS) => Some((host, site)),
                _ => None,
            })
    }

    fn root(&self) -> Option<(&str, &Handler)> {
        self.sites()
            .find_map(|(host, site)| Some((host, site.handlers.as_ref()?.get("/")?)))
    }
}

impl Handler {
    fn leads_to(&self, target: &str) -> bool {
        let proxy = self.proxy.as_deref().unwrap_or_default();
        !target.is_empty() && proxy.trim_end_matches('/') == target
    }

    fn described(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("a route to {proxy:.200}"),
            None => "files or text".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OURS: &str = "http://127.0.0.1:40001";

    fn status(value: &serde_json::Value) -> ServeStatus {
        ServeStatus::parse(value.to_string().as_bytes()).unwrap()
    }

    fn web(handlers: &serde_json::Value) -> serde_json::Value {
        json!({
            "TCP": {"443": {"HTTPS": true}},
            "Web": {"gw.tail1.ts.net:443": {"Handlers": handlers}},
        })
    }

    #[test]
    fn a_free_port_may_be_taken() {
        for free in [
            json!({}),
            json!({"TCP": null, "Web": null}),
            web(&json!({})),
            web(&json!({"/other": {"Proxy": "http://127.0.0.1:3000"}})),
            json!({"Web": {"gw.tail1.ts.net:8443": {"Handlers": {"/": {"Text": "x"}}}}}),
        ] {
            assert_eq!(status(&free).check_free(None), Ok(()), "{free}");
        }
        assert_eq!(ServeStatus::parse(b"\n").unwrap().check_free(None), Ok(()));
    }

    #[test]
    fn what_others_publish_is_left_alone() {
        let root = web(&json!({"/": {"Proxy": OURS}}));
        for (taken, named) in [
            (
                web(&json!({"/": {"Proxy": "http://127.0.0.1:3000"}})),
                "127.0.0.1:3000",
            ),
            (web(&json!({"/": {"Path": "/srv"}})), "files"),
            (
                json!({"TCP": {"443": {"TCPForward": "127.0.0.1:22"}}}),
                "127.0.0.1:22",
            ),
            (json!({"Foreground": {"s1": root}}), OURS),
        ] {
            let refused = status(&taken).check_free(Some(OURS)).unwrap_err();
            assert!(refused.by.contains(named), "{refused}");
        }
    }

    #[test]
    fn our_earlier_route_is_replaced() {
        let root = web(&json!({"/": {"Proxy": format!("{OURS}/")}}));
        let status = status(&root);
        assert_eq!(status.check_free(Some(OURS)), Ok(()));
        assert!(status.check_free(None).is_err());
        assert_eq!(
            status.url_of(OURS).as_deref(),
            Some("https://gw.tail1.ts.net")
        );
        assert_eq!(status.url_of("http://127.0.0.1:4000"), None);
    }

    #[test]
    fn garbage_is_no_status() {
        for output in ["[]", "logged out", r#"{"Web": 7}"#] {
            assert!(ServeStatus::parse(output.as_bytes()).is_err(), "{output}");
        }
    }

    #[test]
    fn a_target_gives_its_port_back() {
        let route = Route {
            publication: Publication::Funnel,
            port: 40_001,
        };
        assert_eq!(
            Route::port_of(&format!("{}\n", route.target())),
            Some(40_001)
        );
        assert_eq!(Route::port_of("http://10.0.0.1:1"), None);
        let args = route.withdraw_args().join(" ");
        assert_eq!(args, "funnel --yes --https=443 --set-path=/ off");
    }
}
