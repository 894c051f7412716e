//! `discover`: gateways that advertise themselves on the network.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use clawgate_core::discovery::{Discovered, Found};
use clawgate_smol::mdns::{self, MdnsError};
use serde_json::{Value, json};

use crate::discovery_args::DiscoverArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Reader};
use crate::text;

/// How long is listened for when nobody says.
const TIME: Duration = Duration::from_secs(2);
/// The same for whoever watches.
const WATCH_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) fn run(args: &DiscoverArgs, format: Format) -> Result<Exit, Failure> {
    let mut heard = Discovered::default();
    if args.watch {
        watch(args.timeout.unwrap_or(WATCH_TIME), &mut heard, format)?;
        return Ok(Exit::Ok);
    }
    let time = args.timeout.unwrap_or(TIME);
    mdns::browse(time, |sighting| {
        heard.see(sighting);
        ControlFlow::Continue(())
    })
    .map_err(|error| failed(&error))?;
    match format {
        Format::Json => output::json(&to_json(&heard, time))?,
        Format::Text => output::text(&to_text(&heard, time))?,
    }
    Ok(Exit::Ok)
}

fn failed(error: &MdnsError) -> Failure {
    Failure::new(
        Exit::Failed,
        "mdns_failed",
        format!("The network could not be listened to: {error}."),
        "Check that this machine has a network that carries multicast, or give --url.",
    )
}

/// Prints what changes with each thing that is heard.
fn watch(time: Duration, heard: &mut Discovered, format: Format) -> Result<(), Failure> {
    let mut shown: BTreeMap<String, Found> = BTreeMap::new();
    let mut ended = Ok(());
    let show = |event: &str, found: &Found| -> Result<Reader, Failure> {
        let mut value = beacon(found);
        if let Some(object) = value.as_object_mut() {
            object.insert("event".to_owned(), json!(event));
        }
        let urls = found.urls().join(" ");
        let (name, host, port) = (&found.instance, &found.host, found.port);
        let line = text::plain(&format!("{event:<6} {name}  {host}:{port}  {urls}"));
        output::stream(format, &value, &format!("{line}\n"))
    };
    mdns::browse(time, |sighting| {
        heard.see(sighting);
        let now: BTreeMap<String, Found> = heard
            .gateways()
            .into_iter()
            .map(|found| (found.instance.clone(), found.clone()))
            .collect();
        let gone = shown
            .iter()
            .filter(|(name, _)| !now.contains_key(*name))
            .map(|(_, found)| ("gone", found));
        let new = now
            .iter()
            .filter(|(name, found)| shown.get(*name) != Some(found))
            .map(|(_, found)| ("found", found));
        for (event, found) in gone.chain(new) {
            match show(event, found) {
                Ok(Reader::There) => {}
                Ok(Reader::Gone) => return ControlFlow::Break(()),
                Err(failure) => {
                    ended = Err(failure);
                    return ControlFlow::Break(());
                }
            }
        }
        shown = now;
        ControlFlow::Continue(())
    })
    .map_err(|error| failed(&error))?;
    ended
}

fn to_json(heard: &Discovered, time: Duration) -> Value {
    let beacons: Vec<Value> = heard.gateways().into_iter().map(beacon).collect();
    let ignored: Vec<Value> = heard
        .ignored()
        .map(|(name, reason)| json!({ "name": name, "reason": reason.as_str() }))
        .collect();
    json!({
        "ok": true,
        "timeoutMs": text::millis(time),
        "domains": ["local."],
        "count": beacons.len(),
        "trusted": false,
        "beacons": beacons,
        "ignored": ignored,
    })
}

fn beacon(found: &Found) -> Value {
    let urls = found.urls();
    json!({
        "instanceName": found.instance,
        "domain": "local.",
        "host": found.host,
        "port": found.port,
        "addresses": found.addresses,
        "wsUrl": urls.first(),
        "urls": urls,
        "trusted": false,
        "hints": found.hints,
    })
}

fn to_text(heard: &Discovered, time: Duration) -> String {
    let gateways = heard.gateways();
    let ignored = heard.ignored().count();
    let mut out = String::new();
    if gateways.is_empty() {
        let time = text::duration(time);
        out.push_str(&format!("No gateway was heard in {time}.\n"));
    }
    for found in &gateways {
        let mut sheet = text::Sheet::default();
        sheet.line("Name", &found.instance);
        sheet.line("Host", format!("{}:{}", found.host, found.port));
        let urls = found.urls();
        match urls.is_empty() {
            true => sheet.line("URL", "none that may be used without TLS"),
            false => sheet.line("URL", urls.join(" ")),
        }
        if let Some(fingerprint) = &found.hints.gateway_tls_sha256 {
            sheet.line("Claims", format!("certificate sha256:{fingerprint}"));
        }
        if let Some(port) = found.hints.ssh_port {
            sheet.line("Claims", format!("SSH on port {port}"));
        }
        out.push_str(&sheet.to_text());
        out.push('\n');
    }
    if !gateways.is_empty() {
        out.push_str(
            "Anybody on the network can say this. Compare the fingerprint with what `clawgate \
             gateway status`\nprints on the gateway's machine before you send a token there.\n",
        );
    }
    if ignored > 0 {
        out.push_str(&format!("{ignored} ignored; --json says why.\n"));
    }
    out
}
