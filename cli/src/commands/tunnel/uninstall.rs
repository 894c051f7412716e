//! `tunnel uninstall`: takes back what `tunnel install` did, except for the config.

use std::fs;
use std::io;

use clawgate_core::tunnel::without_include;
use serde_json::json;

use super::service::{TunnelService, file_failure};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::service::{Activity, Manager, ServiceError};
use crate::{private_file, tunnels};

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let places = context.locations()?;
    let kept = tunnels::service(places);
    let config_file = kept
        .as_ref()
        .and_then(|kept| kept.spec.config_file.as_deref());
    let service = TunnelService::of(config_file, context)?;
    let mut removed = Vec::new();
    let manager = Manager::of_user(&context.env).map_err(|error| error.failure())?;
    let files = unload(&manager, &service).map_err(|error| error.failure())?;
    removed.extend(files);
    let include = fs::read_to_string(&service.ssh_config)
        .ok()
        .and_then(|text| without_include(&text, &service.include));
    if let Some(text) = include {
        let real = service.ssh_config.canonicalize();
        let real = real.unwrap_or_else(|_| service.ssh_config.clone());
        private_file::write(&real, text.as_bytes())
            .map_err(|error| file_failure("write", &real, &error))?;
        removed.push(format!(
            "Include {} in {}",
            service.include,
            service.ssh_config.display()
        ));
    }
    for path in [&service.included, &tunnels::service_file(places)] {
        match fs::remove_file(path) {
            Ok(()) => removed.push(path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_failure("remove", path, &error)),
        }
    }
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "removed": removed }))?,
        Format::Text if removed.is_empty() => output::text("No tunnel was installed.\n")?,
        Format::Text => {
            for what in &removed {
                output::text(&format!("Removed: {what}\n"))?;
            }
            output::text(
                "The config stays as it is: commands open a tunnel when they need one.\n",
            )?;
        }
    }
    Ok(Exit::Ok)
}

fn unload(manager: &Manager, service: &TunnelService) -> Result<Vec<String>, ServiceError> {
    if !manager.is_installed(&service.name) {
        return Ok(Vec::new());
    }
    if manager.state(&service.name)?.activity != Activity::Unknown {
        manager.unload(&service.name)?;
    }
    let files = manager.remove(&service.name)?;
    Ok(files
        .into_iter()
        .map(|path| path.display().to_string())
        .collect())
}
