//! `backup`: a consistent copy of the state database, while the gateway runs or not.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clawgate_core::config::paths::Locations;
use clawgate_core::policy::TlsFiles;
use clawgate_core::time::WallTime;
use clawgate_smol::store::{self, Backup, BackupError, Replace};
use serde_json::{Value, json};

use crate::args::BackupArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::{Sheet, capitalised};

pub(super) fn run(args: BackupArgs, context: &Context) -> Result<Exit, Failure> {
    let places = context.locations()?;
    let database = places.own.join(store::FILE_NAME);
    let to = args.to.unwrap_or_else(|| default_name(places));
    let replace = if args.force {
        Replace::Existing
    } else {
        Replace::Never
    };
    let backup = store::back_up(&database, &to, replace).map_err(|error| failure(&error, &to))?;
    let also = others(context, places);
    match context.format {
        Format::Json => output::json(&to_json(&backup, &database, &also))?,
        Format::Text => output::text(&to_text(&backup, &database, &also))?,
    }
    Ok(Exit::Ok)
}

fn default_name(places: &Locations) -> PathBuf {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = WallTime(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let moment = now.to_rfc3339().replace(['-', ':'], "");
    places
        .own
        .join("backups")
        .join(format!("state-{moment}.sqlite"))
}

fn failure(error: &BackupError, to: &Path) -> Failure {
    let text = error.to_string();
    let (what, next) = match text.split_once("; ") {
        Some((what, next)) => (format!("{what}."), format!("{}.", capitalised(next))),
        None => (
            format!("{text}."),
            "Check the disk and the folder's owner.".to_owned(),
        ),
    };
    Failure::new(Exit::Failed, error.code(), capitalised(&what), next)
        .fact("file", json!(to.to_string_lossy()))
}

/// What else a machine needs to take the gateway's place, as far as it is there.
fn others(context: &Context, places: &Locations) -> Vec<PathBuf> {
    let mut files = vec![
        places.config.clone(),
        places.own.join("identity.key"),
        places.token_file(),
    ];
    if let Ok(file) = context.config_file() {
        let tls = TlsFiles::of_config(&file.config.gateway.tls, places, &context.env);
        if let Ok(tls) = tls {
            files.extend([tls.certificate, tls.key]);
            files.extend(tls.authorities);
        }
    }
    files.retain(|file| file.exists());
    files
}

fn to_json(backup: &Backup, database: &Path, also: &[PathBuf]) -> Value {
    let rows: serde_json::Map<String, Value> = backup
        .rows
        .iter()
        .map(|(table, rows)| (table.name().to_owned(), json!(rows)))
        .collect();
    json!({
        "ok": true,
        "file": backup.file.to_string_lossy(),
        "database": database.to_string_lossy(),
        "bytes": backup.bytes,
        "schema": backup.schema,
        "rows": rows,
        "audit": backup.audit,
        "notIncluded": also.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
    })
}

fn to_text(backup: &Backup, database: &Path, also: &[PathBuf]) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Backup", backup.file.to_string_lossy());
    let kib = backup.bytes.div_ceil(1024);
    sheet.line("Size", format!("{kib} KiB, schema {}", backup.schema));
    let mut rows: Vec<String> = backup
        .rows
        .iter()
        .map(|(table, rows)| format!("{rows} {}", table.name()))
        .collect();
    rows.push(format!("{} audit", backup.audit));
    sheet.line("Rows", rows.join(", "));
    for (index, file) in also.iter().enumerate() {
        let name = if index == 0 { "Not in it" } else { "" };
        sheet.line(name, file.to_string_lossy());
    }
    sheet.line(
        "Restore",
        format!(
            "stop the gateway, remove {name}-wal and {name}-shm, copy the backup to {name}",
            name = database.display()
        ),
    );
    sheet.to_text()
}
