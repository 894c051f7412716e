//! What is checked before a database is used, and what becomes of a broken one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clawgate_core::{
    frame::RawJson,
    store::{Row, Table},
    time::WallTime,
};
use rusqlite::Connection;

use super::{
    create::{beside, create, sync_folder},
    database::{Database, connect},
    failure::{OpenError, Trouble, trouble},
    header::Header,
    migrations::{APPLICATION_ID, MIGRATIONS, Migrated, MigrationError, migrate},
};

/// Files up to this size are checked as a whole at each start; of larger ones, only the tables that
/// are read then.
const WHOLE_CHECK_BYTES: u64 = 256 * 1024 * 1024;

/// How a store works.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Lines of the audit log that are kept; the oldest ones go.
    pub audit_rows: u64,
    /// How long a write waits for another program that locks the file.
    pub busy: Duration,
    /// The most that the database may take, in bytes; beyond it, writes fail as on a full disk.
    pub max_bytes: Option<u64>,
    /// Commits that may wait for the disk. Those beyond it fail.
    pub max_waiting: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            audit_rows: 50_000,
            busy: Duration::from_secs(5),
            max_bytes: None,
            max_waiting: 16_384,
        }
    }
}

/// A checked database that nobody writes to yet. Give it to [`super::Store::start`].
#[derive(Debug)]
pub struct StoreFile(pub(super) Box<Database>);

/// A database, and what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub file: StoreFile,
    /// Every row, for the gateway machine.
    pub rows: Vec<Row>,
    /// Rows whose documents are no JSON, by table and key. They are left as they are.
    pub unreadable: Vec<(Table, String)>,
    /// What was found under the path.
    pub found: Found,
}

/// What was found under the path of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A sound database.
    Sound {
        /// Its version, where it was an older one. It is the newest now.
        migrated_from: Option<i64>,
    },
    /// Nothing: this is the first start.
    Nothing,
    /// A broken one. It was moved away, and an empty one stands in its place: say so to people, for
    /// everything that was in it is gone from the gateway's view.
    Damaged(Damage),
}

/// A broken database that was moved away, with nothing lost of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it is now. What SQLite kept beside it has the same name with `-wal` and `-shm`.
    pub set_aside: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl StoreFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Opens the database, and makes it where there is none. It may take as long as reading the file
    /// takes, so call it before serving, or off the executor.
    ///
    /// A broken database is moved away and replaced by an empty one, and [`Opened::found`] says so. It is
    /// never written to or removed.
    ///
    /// # Errors
    /// When the file cannot be used for any other reason; then it is left as it is.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Opened, OpenError> {
        let path = std::path::absolute(path).map_err(OpenError::file("find", path))?;
        match check(&path, &options) {
            Ok(opened) => Ok(opened),
            Err(Trouble::Open(error)) => Err(error),
            Err(Trouble::Damaged(why)) => {
                let damage = set_aside(&path, why)?;
                create(&path)?;
                match check(&path, &options) {
                    Ok(opened) => Ok(Opened {
                        found: Found::Damaged(damage),
                        ..opened
                    }),
                    Err(Trouble::Open(error)) => Err(error),
                    Err(Trouble::Damaged(message)) => Err(OpenError::Sqlite { path, message }),
                }
            }
        }
    }
}

/// Databases that were set aside beside this one and are still there, the oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn set_aside_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let start = format!("{}{SET_ASIDE}", name.to_string_lossy());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let part = ["-wal", "-shm", "-journal"]
            .iter()
            .any(|end| text.ends_with(end));
        if text.starts_with(&start) && !part {
            files.push(folder.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// Stands between the name of a database and the moment at which it was set aside.
const SET_ASIDE: &str = ".corrupt-";

fn check(path: &Path, options: &StoreOptions) -> Result<Opened, Trouble> {
    let file = |what| OpenError::file(what, path);
    let size = match fs::metadata(path) {
        Ok(found) if found.is_file() => Some(found.len()),
        Ok(_) => return Err(file("use")(io::Error::other("it is no file")).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(file("find")(error).into()),
    };
    match size {
        Some(_) => match Header::read(path).map_err(file("read"))? {
            Header::Ours => {}
            Header::Broken(why) => return Err(Trouble::Damaged(why.into())),
            Header::Foreign => {
                let path = path.to_owned();
                return Err(OpenError::Foreign { path }.into());
            }
        },
        None if is_filled(&beside(path, "-wal")) => {
            return Err(Trouble::Damaged(
                "the file is gone, its journal is not".into(),
            ));
        }
        None => create(path)?,
    }
    for part in ["", "-wal", "-shm"] {
        keep_private(&beside(path, part)).map_err(file("protect"))?;
    }
    let mut connection = connect(path, options)?;
    let sql = |error: rusqlite::Error| trouble(path, &error);
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(sql)?;
    if id != APPLICATION_ID {
        return Err(Trouble::Damaged("its first page cannot be read".into()));
    }
    let tables = Table::ALL.map(Table::name);
    let parts: &[&str] = match size {
        Some(size) if size > WHOLE_CHECK_BYTES => &tables,
        Some(_) | None => &[""],
    };
    for part in parts {
        quick_check(&connection, part)
            .map_err(sql)?
            .map_err(Trouble::Damaged)?;
    }
    let migrated = migrate(&mut connection, &MIGRATIONS).map_err(|error| match error {
        MigrationError::Newer { found, known } => Trouble::Open(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        }),
        MigrationError::Sqlite(error) => sql(error),
    })?;
    let (rows, unreadable) = read_rows(&connection).map_err(sql)?;
    let database =
        Database::new(path.to_owned(), options.clone(), connection).map_err(file("find"))?;
    Ok(Opened {
        file: StoreFile(Box::new(database)),
        rows,
        unreadable,
        found: match (size, migrated) {
            (None, _) => Found::Nothing,
            (Some(_), Migrated::Nothing) => Found::Sound {
                migrated_from: None,
            },
            (Some(_), Migrated::From(version)) => Found::Sound {
                migrated_from: Some(version),
            },
        },
    })
}

fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

/// Takes the file from everyone but its owner. The database's mode becomes that of its journal.
#[cfg_attr(not(unix), allow(unused_variables, clippy::unnecessary_wraps))]
fn keep_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = match fs::metadata(path) {
            Ok(found) => found.permissions().mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700))?;
        }
    }
    Ok(())
}

/// Walks through the file, or through one of its tables, and gives the first fault. An index is not
/// compared with its table: that would take several times as long.
pub(super) fn quick_check(
    connection: &Connection,
    table: &str,
) -> rusqlite::Result<Result<(), String>> {
    let argument = if table.is_empty() { "1" } else { table };
    let verdict: String =
        connection.query_row(&format!("PRAGMA quick_check({argument})"), [], |row| {
            row.get(0)
        })?;
    Ok(if verdict == "ok" {
        Ok(())
    } else {
        Err(verdict.lines().collect::<Vec<_>>().join(" "))
    })
}

#[expect(
    clippy::type_complexity,
    reason = "a pair of lists that is taken apart at once"
)]
fn read_rows(connection: &Connection) -> rusqlite::Result<(Vec<Row>, Vec<(Table, String)>)> {
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for table in Table::ALL {
        let name = table.name();
        let mut query =
            connection.prepare(&format!("SELECT key, document FROM {name} ORDER BY key"))?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            // Flipped bits can make text that is no text.
            let key = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
            let document = String::from_utf8(row.get_ref(1)?.as_bytes()?.to_vec())
                .ok()
                .and_then(|text| RawJson::checked(text).ok());
            match document {
                Some(document) => rows.push(Row {
                    table,
                    key,
                    document,
                }),
                None => unreadable.push((table, key)),
            }
        }
    }
    Ok((rows, unreadable))
}

/// Moves a broken database away, so that nothing of it is lost.
fn set_aside(path: &Path, why: String) -> Result<Damage, OpenError> {
    let moved = (|| {
        let target = free_name(path)?;
        // The file goes first: without it, its journal is found at the next start and set aside too.
        for part in ["", "-wal", "-shm", "-journal"] {
            match fs::rename(beside(path, part), beside(&target, part)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        sync_folder(path.parent().unwrap_or(path))?;
        Ok(target)
    })();
    match moved {
        Ok(set_aside) => Ok(Damage { set_aside, why }),
        Err(source) => Err(OpenError::CannotSetAside {
            path: path.to_owned(),
            why,
            source,
        }),
    }
}

/// A name that tells when it happened, and that nothing has yet.
fn free_name(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = WallTime(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let moment: String = now
        .to_rfc3339()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    for count in 0_u32.. {
        let suffix = match count {
            0 => format!("{SET_ASIDE}{moment}"),
            count => format!("{SET_ASIDE}{moment}.{count}"),
        };
        let name = beside(path, &suffix);
        if !fs::exists(&name)? {
            return Ok(name);
        }
    }
    Err(io::Error::other("no free name"))
}
