//! The service's part of `gateway status`: how it stands, where it has drifted, who has the port.

use std::net::{Ipv4Addr, SocketAddr};

use clawgate_core::time::WallTime;
use serde_json::{Value, json};

use super::describe;
use super::drift::{self, Drift};
use crate::context::Context;
use crate::port_holder::{self, PortHolder};
use crate::run::{Holder, lock_holder};
use crate::service::{Activity, Kind, Manager, ServiceName, State};
use crate::text::Sheet;

/// What is known of this machine's side of the gateway.
pub(in crate::commands) struct Survey {
    service: Option<Found>,
    /// Why the manager says nothing.
    silent: Option<String>,
    rival: Option<String>,
    holder: Option<Holder>,
    port: u16,
    on_port: Option<PortHolder>,
}

/// A service that is installed.
struct Found {
    kind: Kind,
    name: ServiceName,
    file: String,
    state: State,
    drifts: Vec<Drift>,
}

/// Looks. Nothing is changed, and the manager is asked only about a service that is installed.
pub(in crate::commands) fn look(context: &Context, port: u16) -> Survey {
    let mut survey = Survey {
        service: None,
        silent: None,
        rival: None,
        holder: None,
        port,
        on_port: port_holder::find(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
    };
    let Ok(places) = context.locations() else {
        return survey;
    };
    survey.holder = lock_holder(&places.own);
    let (Ok(manager), Ok(name)) = (
        Manager::of_user(&context.env),
        describe::name(&context.profile),
    ) else {
        return survey;
    };
    let theirs = describe::names_of_openclaw(&context.profile).unwrap_or_default();
    survey.rival = manager
        .present(&theirs)
        .first()
        .map(|(_, path)| path.display().to_string());
    let Some(file) = manager.installed_file(&name) else {
        return survey;
    };
    let state = manager.state(&name).unwrap_or_else(|error| {
        survey.silent = Some(error.to_string());
        State::default()
    });
    survey.service = Some(Found {
        kind: manager.kind(),
        drifts: drift::find(&manager, &file, context, places),
        file: file.display().to_string(),
        state,
        name,
    });
    survey
}

impl Survey {
    /// Where the service has drifted, as stable names and words.
    pub(in crate::commands) fn drifts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let drifts = self.service.iter().flat_map(|found| &found.drifts);
        drifts.map(|drift| (drift.code, drift.message.as_str()))
    }

    /// The file of OpenClaw's own service, if it has one.
    pub(in crate::commands) fn rival(&self) -> Option<&str> {
        self.rival.as_deref()
    }

    /// The `service` object.
    pub(in crate::commands) fn service_json(&self) -> Value {
        let Some(found) = &self.service else {
            return json!({ "installed": false, "openclaw": self.rival });
        };
        let state = &found.state;
        json!({
            "installed": true,
            "manager": found.kind.word(),
            "unit": found.name.unit(),
            "label": found.name.label(),
            "file": found.file,
            "activity": state.activity.word(),
            "enabled": state.enabled,
            "pid": state.pid,
            "since": state.since.map(|seconds| WallTime(seconds * 1_000).to_rfc3339()),
            "lastExit": state.last_exit,
            "says": state.status,
            "needsReload": state.needs_reload,
            "managerError": self.silent,
            "drift": found.drifts,
            "openclaw": self.rival,
        })
    }

    /// The `port` object.
    pub(in crate::commands) fn port_json(&self) -> Value {
        json!({ "port": self.port, "holder": self.on_port })
    }

    /// The `process` object: who runs on the state.
    pub(in crate::commands) fn process_json(&self) -> Value {
        json!(self.holder)
    }

    /// The same for people.
    pub(in crate::commands) fn lines(&self, sheet: &mut Sheet) {
        match (&self.service, &self.holder) {
            (Some(found), _) => self.service_lines(found, sheet),
            (None, Some(holder)) => sheet.line(
                "Service",
                format!(
                    "not installed; process {} runs by hand ({})",
                    holder.pid,
                    holder.whose()
                ),
            ),
            (None, None) => sheet.line("Service", "not installed (clawgate gateway install)"),
        }
        if let Some(path) = &self.rival {
            sheet.line("OpenClaw", format!("has a service of its own: {path}"));
        }
        let held = match &self.on_port {
            Some(holder) => format!("{}: {}", self.port, holder.words()),
            None if cfg!(target_os = "linux") => format!("{}: nobody listens", self.port),
            None => return,
        };
        sheet.line("Port", held);
    }

    fn service_lines(&self, found: &Found, sheet: &mut Sheet) {
        let state = &found.state;
        let mut words = format!("{} ({})", found.name.unit(), found.kind.word());
        match &self.silent {
            Some(why) => words += &format!(", {why}"),
            None => words += &format!(", {}", state.activity.word()),
        }
        if let Some(pid) = state.pid {
            words += &format!(", process {pid}");
        }
        if let Some(since) = state.since {
            words += &format!(", since {}", WallTime(since * 1_000).to_rfc3339());
        }
        if state.enabled == Some(false) {
            words += ", does not start by itself";
        }
        if let (Some(code), Activity::Failed | Activity::Starting | Activity::Stopped) =
            (state.last_exit, state.activity)
        {
            words += &format!(", last exit {code}");
        }
        sheet.line("Service", words);
        if let (Some(says), Activity::Running) = (&state.status, state.activity) {
            sheet.line("Says", says);
        }
        if state.needs_reload {
            sheet.line(
                "Drift",
                "the manager has not read the unit again (clawgate gateway restart)",
            );
        }
        if let (Some(holder), true) = (&self.holder, self.silent.is_none())
            && state.pid != Some(holder.pid)
        {
            sheet.line(
                "Drift",
                format!(
                    "the gateway that runs is not the service: process {}",
                    holder.pid
                ),
            );
        }
        for drift in &found.drifts {
            sheet.line("Drift", &drift.message);
        }
    }
}
