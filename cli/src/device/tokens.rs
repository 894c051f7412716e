//! The file of the device tokens. Where each may go is the core's to say; this reads, locks and
//! writes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use clawgate_core::credentials::{MAX_TOKEN_BOOK, TokenBook};
use clawgate_core::secret::Secret;

use super::wall_time;
use crate::{output, private_file};

#[derive(Clone, Debug)]
pub(super) struct TokenFile(PathBuf);

impl TokenFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// All tokens. A file that is not whole is set aside and told of: the gateways will issue others.
    pub(super) fn read_or_set_aside(&self) -> TokenBook {
        match self.read() {
            Ok(Ok(book)) => book,
            Ok(Err(_)) => {
                // Under the lock, for another command may just have mended it.
                let again = private_file::lock(&self.0).and_then(|lock| {
                    let book = match self.read()? {
                        Ok(book) => book,
                        Err(why) => self.set_aside(&why),
                    };
                    drop(lock);
                    Ok(book)
                });
                again.unwrap_or_else(|error| self.unusable("read", &error))
            }
            Err(error) => self.unusable("read", &error),
        }
    }

    /// Changes the file under a lock, so that two changes at once are both kept. `change` tells
    /// whether it did anything.
    pub(super) fn change(&self, change: impl FnOnce(&mut TokenBook) -> bool) {
        let changed = (|| {
            let _lock = private_file::lock(&self.0)?;
            let mut book = match self.read()? {
                Ok(book) => book,
                Err(why) => self.set_aside(&why),
            };
            if change(&mut book) {
                private_file::write(&self.0, book.to_text().expose().as_bytes())?;
            }
            Ok(())
        })();
        if let Err(error) = changed {
            self.unusable("change", &error);
        }
    }

    /// The book, or in words why the file is none.
    fn read(&self) -> io::Result<Result<TokenBook, String>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Ok(TokenBook::new()));
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_TOKEN_BOOK as u64 + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() > MAX_TOKEN_BOOK {
            return Ok(Err("it is too long".into()));
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => {
                TokenBook::parse(Secret::new(text).expose()).map_err(|error| error.to_string())
            }
            Err(_) => Err("it is no text".into()),
        })
    }

    fn set_aside(&self, why: &str) -> TokenBook {
        let mut name = self.0.file_name().unwrap_or_default().to_owned();
        name.push(format!(".broken-{}", wall_time().0));
        let aside = self.0.with_file_name(name);
        match fs::rename(&self.0, &aside) {
            Ok(()) => output::note(&format!(
                "warning: the device tokens in {} cannot be used: {why}. The file was set aside as \
                 {}; gateways give new tokens to devices that are paired.",
                self.0.display(),
                aside.display()
            )),
            Err(error) => {
                self.unusable("set aside", &error);
            }
        }
        TokenBook::new()
    }

    fn unusable(&self, what: &str, error: &io::Error) -> TokenBook {
        output::note(&format!(
            "warning: cannot {what} the device tokens in {}: {error}",
            self.0.display()
        ));
        TokenBook::new()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use clawgate_core::client::IssuedToken;
    use clawgate_core::device::DeviceIdentity;
    use clawgate_core::policy::{Endpoint, Scheme, TlsTrust};
    use clawgate_core::protocol::Role;

    use super::*;

    fn remember(book: &mut TokenBook, port: u16) -> bool {
        let issued = IssuedToken {
            token: Secret::new(format!("token-{port}")),
            role: "operator".into(),
            scopes: vec!["operator.read".into()],
            issued_at: None,
        };
        let device = DeviceIdentity::from_seed(&[7; 32]);
        let endpoint = Endpoint::local(Scheme::Ws, port);
        let way = (&endpoint, &TlsTrust::Authorities);
        book.remember(way, (device.id(), Role::Operator), &issued, wall_time())
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile(folder.path().join("own/device-tokens.json"));
        thread::scope(|scope| {
            for port in 1..=16 {
                let file = &file;
                scope.spawn(move || file.change(|book| remember(book, port)));
            }
        });
        assert_eq!(file.read_or_set_aside().len(), 16);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&file.0).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_that_is_not_whole_is_set_aside_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile(folder.path().join("device-tokens.json"));
        fs::write(&file.0, "{\"version\":1,").unwrap();
        file.change(|book| remember(book, 1));
        assert_eq!(file.read_or_set_aside().len(), 1);
        let kept: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".broken-"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(kept, ["{\"version\":1,"]);
    }
}
