//! A service as a property list for launchd, in the user's `LaunchAgents` (launchd.plist(5)).

use std::fmt::Write as _;

use super::description::{Refused, Service, Value};

/// Writes the property list. Hardening, readiness and exit codes are unknown to launchd: it starts the
/// program at login and whenever it ends.
///
/// # Errors
/// [`Refused::Unsupported`] for sockets, and for a file of variables.
pub(crate) fn plist(service: &Service) -> Result<String, Refused> {
    if !service.sockets.is_empty() {
        return Err(Refused::Unsupported(
            "launchd does not hand sockets over to this program; leave socket activation out",
        ));
    }
    if service.environment_file.is_some() {
        return Err(Refused::Unsupported(
            "launchd reads no file of variables; the program has to read it itself",
        ));
    }
    let mut plist = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n",
    );
    string(&mut plist, "Label", service.name.label());
    // Writing into a string does not fail.
    let _ = writeln!(plist, "  <key>ProgramArguments</key>\n  <array>");
    for word in [&service.program].into_iter().chain(&service.arguments) {
        let _ = writeln!(plist, "    <string>{}</string>", escape(word.as_str()));
    }
    plist.push_str("  </array>\n");
    if !service.environment.is_empty() {
        plist.push_str("  <key>EnvironmentVariables</key>\n  <dict>\n");
        for (name, value) in &service.environment {
            let (name, value) = (escape(name.as_str()), escape(value.as_str()));
            let _ = writeln!(plist, "    <key>{name}</key>\n    <string>{value}</string>");
        }
        plist.push_str("  </dict>\n");
    }
    let folder = service.working_folder.as_ref().map(Value::as_str);
    if let Some(folder) = folder {
        string(&mut plist, "WorkingDirectory", folder);
    }
    plist.push_str("  <key>RunAtLoad</key>\n  <true/>\n  <key>KeepAlive</key>\n  <true/>\n");
    integer(
        &mut plist,
        "ThrottleInterval",
        service.restart.pause.as_secs(),
    );
    integer(&mut plist, "ExitTimeOut", service.stop_within.as_secs());
    // 0077, as launchd wants it.
    integer(&mut plist, "Umask", 0o077);
    if let Some(log) = &service.log {
        string(&mut plist, "StandardOutPath", log.as_str());
        string(&mut plist, "StandardErrorPath", log.as_str());
    }
    plist.push_str("</dict>\n</plist>\n");
    Ok(plist)
}

fn string(plist: &mut String, key: &str, value: &str) {
    let _ = writeln!(
        plist,
        "  <key>{key}</key>\n  <string>{}</string>",
        escape(value)
    );
}

fn integer(plist: &mut String, key: &str, value: u64) {
    let _ = writeln!(plist, "  <key>{key}</key>\n  <integer>{value}</integer>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::description::{Socket, sample};
    use super::*;

    fn value(text: &str) -> Value {
        Value::new(text).unwrap()
    }

    #[test]
    fn a_library_reads_every_value_back() {
        let odd = "a b & <c> \"d\" 'e' 100% $HOME \\ ö";
        let service = Service {
            arguments: vec![value("gateway"), value(odd), value("")],
            environment: vec![(value("NAME"), value(odd))],
            working_folder: Some(value("/Users/a&b")),
            log: Some(value("/Users/a&b/gateway.out")),
            ..sample()
        };
        let text = plist(&service).unwrap();
        let read = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
        let dict = read.as_dictionary().unwrap();
        let string = |key: &str| dict.get(key).and_then(plist::Value::as_string);
        assert_eq!(string("Label"), Some("ai.clawgate.gateway"));
        assert_eq!(string("WorkingDirectory"), Some("/Users/a&b"));
        assert_eq!(string("StandardErrorPath"), Some("/Users/a&b/gateway.out"));
        let words: Vec<&str> = dict
            .get("ProgramArguments")
            .and_then(plist::Value::as_array)
            .unwrap()
            .iter()
            .map(|word| word.as_string().unwrap())
            .collect();
        assert_eq!(words, ["/usr/bin/clawgate", "gateway", odd, ""]);
        let variables = dict.get("EnvironmentVariables").unwrap();
        let variable = variables.as_dictionary().unwrap().get("NAME").unwrap();
        assert_eq!(variable.as_string(), Some(odd));
        for key in ["KeepAlive", "RunAtLoad"] {
            assert_eq!(dict.get(key).and_then(plist::Value::as_boolean), Some(true));
        }
        let umask = dict.get("Umask").and_then(plist::Value::as_signed_integer);
        assert_eq!(umask, Some(63));
    }

    #[test]
    fn what_launchd_cannot_do_is_refused() {
        let sockets = Service {
            sockets: vec![Socket {
                address: "127.0.0.1:1".parse().unwrap(),
            }],
            ..sample()
        };
        let file = Service {
            environment_file: Some(value("/x")),
            ..sample()
        };
        for service in [sockets, file] {
            assert!(matches!(plist(&service), Err(Refused::Unsupported(_))));
        }
    }
}
