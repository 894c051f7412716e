//! `support`: an archive for people who help, and a look at one.

mod known;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clawgate_core::support::{Search, outline};
use clawgate_core::time::WallTime;
use clawgate_smol::store::{self, Reader};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::page::{log_tail, page, paste_of};
use crate::context::Context;
use crate::device::wall_time;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::private_file;
use crate::support_args::{BundleArgs, SupportCommand};
use crate::target::TargetFlags;
use crate::text;

/// The most that is read of an archive, unpacked.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;

/// One file of the archive.
struct Entry {
    name: String,
    bytes: Vec<u8>,
}

pub(super) fn run(command: SupportCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        SupportCommand::Bundle(args) => bundle(args, context),
        SupportCommand::Read { file } => read(&file, context.format),
    }
}

fn bundle(args: BundleArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let mut entries = gather(&flags, context);
    for name in &args.leave_out {
        let before = entries.len();
        entries.retain(|entry| entry.name != *name);
        if entries.len() == before {
            return Err(Failure::new(
                Exit::Usage,
                "no_such_entry",
                format!("The archive has no file {name}."),
                "`clawgate support bundle --list` shows their names.",
            ));
        }
    }
    let search = known::secrets(&flags, context);
    let packed = pack(&entries).map_err(|error| not_written(&error.to_string()))?;
    // What is searched is what would be handed over, not what it was made of.
    let unpacked = unpack(packed.as_slice()).map_err(|error| not_written(&error.to_string()))?;
    refuse_secrets(&unpacked, &search)?;
    if args.read || args.list {
        show(&unpacked, args.list, context.format)?;
        return Ok(Exit::Ok);
    }
    let to = args.to.unwrap_or_else(|| default_name(wall_time()));
    private_file::write_new(&to, &packed).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "support_bundle_not_written",
            format!("{} was not written: {error}.", to.display()),
            "Choose another place by --to.",
        )
    })?;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true,
            "file": to.to_string_lossy(),
            "bytes": packed.len(),
            "entries": unpacked.iter().map(Entry::to_json).collect::<Vec<_>>(),
            "secretsLookedFor": search.len(),
            "secretsTooShort": search.too_short(),
        }))?,
        Format::Text => {
            let to = text::plain(&to.to_string_lossy());
            let mut lines = format!(
                "wrote {to}: {} files, {} bytes; none of {} known secrets is in it\n",
                unpacked.len(),
                packed.len(),
                search.len(),
            );
            for name in search.too_short() {
                lines.push_str(&format!("too short to look for: {name}\n"));
            }
            lines.push_str(&format!(
                "read it before you send it: clawgate support read {to}\n"
            ));
            output::text(&lines)?;
        }
    }
    Ok(Exit::Ok)
}

/// Everything, shortened.
fn gather(flags: &TargetFlags, context: &Context) -> Vec<Entry> {
    let paste = paste_of(context);
    let page = page(flags, context);
    let document = |value: &Value| {
        let mut text = serde_json::to_string_pretty(&paste.value(value)).unwrap_or_default();
        text.push('\n');
        text
    };
    let config = match context.config_file() {
        Ok(file) if file.exists => document(&outline(&file.parsed)),
        Ok(_) => "There is no config file.\n".to_owned(),
        Err(failure) => paste.text(&format!("{}\n", failure.message)),
    };
    let versions = json!({
        "clawgate": env!("CARGO_PKG_VERSION"),
        "gateway": page.doctor.pointer("/versions/gateway"),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
    });
    let places = context.locations().ok();
    let log: String = places
        .map(|places| log_tail(&places.own.join("gateway.log")))
        .unwrap_or_default()
        .iter()
        .map(|line| format!("{}\n", paste.text(line)))
        .collect();
    let schema = places.map(|places| schema(&places.own.join(store::FILE_NAME)));
    [
        ("about.txt", ABOUT.to_owned()),
        ("versions.json", document(&versions)),
        ("config.json", config),
        ("doctor.json", document(&page.doctor)),
        ("status.txt", page.text),
        ("log.txt", log),
        ("database.sql", paste.text(&schema.unwrap_or_default())),
    ]
    .into_iter()
    .map(|(name, text)| Entry {
        name: name.to_owned(),
        bytes: text.into_bytes(),
    })
    .collect()
}

const ABOUT: &str = "\
Made by `clawgate support bundle`.

config.json    the keys of the config that clawgate knows; of texts and secrets only that they are set
doctor.json    what `clawgate doctor` found
status.txt     what `clawgate status --all` shows
log.txt        the end of the gateway's log
versions.json  versions
database.sql   the tables of the database, without a row

The home folder, the user's name and hosts are shortened. All files were searched for the secrets that
clawgate knows on that machine.
";

fn schema(path: &Path) -> String {
    let read = Reader::open(path)
        .map_err(|error| error.to_string())
        .and_then(|reader| reader.schema().map_err(|error| error.to_string()));
    match read {
        Ok((version, statements)) => {
            let statements: String = statements.iter().map(|it| format!("{it};\n")).collect();
            format!("-- migration {version}\n{statements}")
        }
        Err(why) => format!("-- {why}\n"),
    }
}

fn refuse_secrets(entries: &[Entry], search: &Search) -> Result<(), Failure> {
    for entry in entries {
        let name = search.find(entry.name.as_bytes());
        let Some(place) = name.or_else(|| search.find(&entry.bytes)) else {
            continue;
        };
        return Err(Failure::new(
            Exit::Failed,
            "support_secret_found",
            format!(
                "Nothing was written: {} would hold a secret, the one of {place}.",
                entry.name
            ),
            format!(
                "Leave it out with --leave-out {}, or find out how the secret came there and change it.",
                entry.name
            ),
        )
        .fact("entry", json!(entry.name))
        .fact("secret", json!(place)));
    }
    Ok(())
}

fn default_name(at: WallTime) -> PathBuf {
    let time: String = at
        .to_rfc3339()
        .chars()
        .take(19)
        .filter(|c| c.is_ascii_alphanumeric())
        .collect();
    PathBuf::from(format!("clawgate-support-{time}Z.tar.gz"))
}

fn pack(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.bytes.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append_data(&mut header, &entry.name, entry.bytes.as_slice())?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}

fn unpack(packed: impl Read) -> std::io::Result<Vec<Entry>> {
    let mut tar = tar::Archive::new(GzDecoder::new(packed).take(MAX_UNPACKED));
    let mut entries = Vec::new();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        entries.push(Entry { name, bytes });
    }
    Ok(entries)
}

fn read(path: &Path, format: Format) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            "support_bundle_unreadable",
            format!("{} could not be read: {error}.", path.display()),
            "Give the archive that `clawgate support bundle` wrote.",
        )
    };
    let entries = unpack(File::open(path).map_err(failed)?).map_err(failed)?;
    show(&entries, false, format)?;
    Ok(Exit::Ok)
}

fn show(entries: &[Entry], names_only: bool, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => {
            let shown = entries.iter().map(|entry| {
                let mut value = entry.to_json();
                if let (false, Some(object)) = (names_only, value.as_object_mut()) {
                    object.insert("text".into(), json!(String::from_utf8_lossy(&entry.bytes)));
                }
                value
            });
            output::json(&json!({ "ok": true, "entries": shown.collect::<Vec<_>>() }))
        }
        Format::Text => {
            let shown: String = entries
                .iter()
                .map(|entry| {
                    let name = text::plain(&entry.name);
                    let size = entry.bytes.len();
                    if names_only {
                        return format!("{name}  {size} bytes\n");
                    }
                    let body = text::lines(&String::from_utf8_lossy(&entry.bytes));
                    format!("==== {name} ({size} bytes)\n{}\n", body)
                })
                .collect();
            output::text(&shown)
        }
    }
}

fn not_written(why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "support_bundle_not_written",
        format!("The archive was not made: {why}."),
        "",
    )
}

impl Entry {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "bytes": self.bytes.len() })
    }
}
