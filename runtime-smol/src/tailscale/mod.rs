//! The `tailscale` program: who is at an address, and the gateway's route into the tailnet. What is
//! asked, and what the answers mean, the core decides ([`clawgate_core::tailscale`]).

mod find;
mod run;

use std::{io, net::IpAddr, path::PathBuf, process::ExitStatus, time::Duration};

use clawgate_core::{
    gateway::WHOIS_TIMEOUT,
    policy::Untrusted,
    policy::Whois,
    tailscale::{BadStatus, Route, RouteTaken, STATUS_ARGS, ServeStatus, whois_args},
};
use thiserror::Error;

/// How long a change of a route may take.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// The program, and the trust in it.
#[derive(Clone, Debug)]
pub struct Tailscale(Place);

#[derive(Clone, Debug)]
enum Place {
    /// In one of the system's folders, judged each time before it is run.
    System,
    /// Where the caller says, who vouches for it.
    Given(PathBuf),
}

/// Why the program was of no use.
#[derive(Debug, Error)]
pub enum TailscaleError {
    /// There is none where it may lie.
    #[error(
        "there is no tailscale program in {}; install it, or set gateway.tailscale.mode to \"off\"",
        clawgate_core::tailscale::FOLDERS.join(", ")
    )]
    NotFound,
    /// There is one, and somebody may have tampered with it.
    #[error("the tailscale program is not run: {0}; only root may own it and its folders")]
    Untrusted(#[from] Untrusted),
    /// The system does not run it.
    #[error("tailscale could not be run: {0}")]
    Run(#[from] io::Error),
    /// It was ended for taking too long.
    #[error("tailscale did not answer within {} s; see `tailscale status`", .0.as_secs())]
    Late(Duration),
    /// It said too much.
    #[error("tailscale printed more than {0} bytes")]
    TooLong(usize),
    /// It failed.
    #[error("tailscale failed ({status}){}; see `tailscale status`", said(.message))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The start of what it said.
        message: String,
    },
    /// What is published cannot be read.
    #[error(transparent)]
    Status(#[from] BadStatus),
    /// Somebody else's route is in the way.
    #[error(transparent)]
    Taken(#[from] RouteTaken),
    /// It said that all is well, but there is no route.
    #[error(
        "tailscale accepted the route to {target}, but does not list it; see `tailscale serve status`"
    )]
    NotPublished {
        /// Where it was to lead.
        target: String,
    },
}

fn said(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

impl Tailscale {
    /// The program of the system. It is looked for in fixed folders, never in `PATH`, and run only
    /// if nobody but root can have put it there.
    pub const fn of_system() -> Self {
        Self(Place::System)
    }

    /// Where the program is.
    ///
    /// # Errors
    /// When there is none that may be run.
    pub fn program(&self) -> Result<PathBuf, TailscaleError> {
        match &self.0 {
            Place::System => find::in_system(),
            Place::Given(program) => Ok(program.clone()),
        }
    }

    /// A program that the caller vouches for. Nothing about it is checked: no configuration and no
    /// variable may ever lead here.
    pub fn vouched_for(program: impl Into<PathBuf>) -> Self {
        Self(Place::Given(program.into()))
    }

    /// Who is at an address of the tailnet.
    ///
    /// # Errors
    /// When the program gives no answer in [`WHOIS_TIMEOUT`], whatever the reason.
    pub async fn whois(&self, ip: IpAddr) -> Result<Whois, TailscaleError> {
        let output = self.ask(&whois_args(ip), WHOIS_TIMEOUT).await?;
        Ok(Whois::parse(&output))
    }

    /// Publishes a port of this machine, and gives the URL. `earlier` is the target of our last
    /// route, which is replaced; routes of others are left alone. Blocks.
    ///
    /// # Errors
    /// When there is no such route afterwards.
    pub fn publish(&self, route: Route, earlier: Option<&str>) -> Result<String, TailscaleError> {
        smol::block_on(async {
            self.status().await?.check_free(earlier)?;
            self.ask(&route.publish_args(), ROUTE_TIMEOUT).await?;
            let target = route.target();
            let url = self.status().await?.url_of(&target);
            url.ok_or(TailscaleError::NotPublished { target })
        })
    }

    /// Ends a route, if it is still ours. Blocks.
    ///
    /// # Errors
    /// When it may still be there.
    pub fn withdraw(&self, route: Route) -> Result<(), TailscaleError> {
        smol::block_on(async {
            if self.status().await?.url_of(&route.target()).is_some() {
                self.ask(&route.withdraw_args(), ROUTE_TIMEOUT).await?;
            }
            Ok(())
        })
    }

    async fn status(&self) -> Result<ServeStatus, TailscaleError> {
        let output = self.ask(&STATUS_ARGS, ROUTE_TIMEOUT).await?;
        Ok(ServeStatus::parse(&output)?)
    }

    async fn ask<A: AsRef<str>>(
        &self,
        args: &[A],
        limit: Duration,
    ) -> Result<Vec<u8>, TailscaleError> {
        let program = match &self.0 {
            Place::System => smol::unblock(find::in_system).await?,
            Place::Given(program) => program.clone(),
        };
        run::run(&program, args.iter().map(AsRef::as_ref), limit).await
    }
}
