//! The tables, and the way to them from every older version.
//!
//! `PRAGMA user_version` says how many entries of [`MIGRATIONS`] a file has seen. A change of the
//! schema is a new entry at the end; an entry that has shipped never changes.

use rusqlite::Connection;

/// One step. It runs in the transaction of all steps that a file lacks.
pub(super) type Migration = &'static str;

/// `PRAGMA application_id` of our files: "claw".
pub(super) const APPLICATION_ID: i64 = 0x636c_6177;

/// Every step, the oldest first.
pub(super) const MIGRATIONS: [Migration; 3] = [
    // 1: a table for each kind of row, and the audit log.
    "
    CREATE TABLE dedupe (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE device (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE invite (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE pair_request (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL) STRICT;
    ",
    // 2: nodes, sessions, runs, approvals and settings, and the transcripts.
    "
    CREATE TABLE exec_approval (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE node (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE node_request (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE run (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE session (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE setting (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE message (
        session TEXT NOT NULL,
        seq INTEGER NOT NULL,
        id TEXT NOT NULL,
        author TEXT NOT NULL,
        at INTEGER NOT NULL,
        text TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (session, seq)
    ) STRICT, WITHOUT ROWID;
    ",
    // 3: channels.
    "
    CREATE TABLE channel (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE channel_message (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE channel_sender (key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL) STRICT;
    ",
];

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Migrated {
    /// From this version to the newest.
    From(i64),
    /// Nothing was to be done.
    Nothing,
}

/// A file from the future.
#[derive(Debug)]
pub(super) enum MigrationError {
    Newer { found: i64, known: i64 },
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The version of a file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a file to the last of `migrations`, wholly or not at all.
pub(super) fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
) -> Result<Migrated, MigrationError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let found = version(connection)?;
    if found > known {
        return Err(MigrationError::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    let Some(missing @ [_, ..]) = migrations.get(done..) else {
        return Ok(Migrated::Nothing);
    };
    let transaction = connection.transaction()?;
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(Migrated::From(found))
}

#[cfg(test)]
mod tests {
    use clawgate_core::store::Table;

    use super::*;

    /// For each version: data as that version wrote it, and a query that must give 1 in every version
    /// from then on.
    const DATA: [(&str, &str); MIGRATIONS.len()] = [
        (
            "INSERT INTO device VALUES ('d1', '{\"name\":\"phone\"}');
             INSERT INTO audit (entry) VALUES ('{\"n\":1}'), ('{\"n\":2}');",
            "SELECT (SELECT document FROM device WHERE key = 'd1') = '{\"name\":\"phone\"}'
                AND (SELECT group_concat(seq || entry) FROM audit) = '1{\"n\":1},2{\"n\":2}'",
        ),
        (
            "INSERT INTO session VALUES ('agent:main:main', '{}');
             INSERT INTO message VALUES ('s', 1, 'm1', 'user', 7, 'hello', '{\"text\":\"hello\"}');",
            "SELECT (SELECT count(*) FROM session) = 1
                AND (SELECT text FROM message WHERE session = 's' AND seq = 1) = 'hello'",
        ),
        (
            "INSERT INTO channel VALUES ('telegram/default', '{\"cursor\":\"7\"}');
             INSERT INTO channel_message VALUES ('m1', '{\"text\":\"hello\"}');
             INSERT INTO channel_sender VALUES ('s1', '{}');",
            "SELECT (SELECT document FROM channel) = '{\"cursor\":\"7\"}'
                AND (SELECT document FROM channel_message) = '{\"text\":\"hello\"}'
                AND (SELECT count(*) FROM channel_sender) = 1",
        ),
    ];

    fn sound(connection: &Connection) -> bool {
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        verdict == "ok"
    }

    #[test]
    fn every_older_version_comes_forward_with_its_data() {
        for old in 0..=MIGRATIONS.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            for version in 1..=old {
                migrate(&mut connection, &MIGRATIONS[..version]).unwrap();
                connection.execute_batch(DATA[version - 1].0).unwrap();
            }
            let migrated = migrate(&mut connection, &MIGRATIONS).unwrap();
            let expected = match old {
                old if old == MIGRATIONS.len() => Migrated::Nothing,
                old => Migrated::From(old as i64),
            };
            assert_eq!(migrated, expected);
            assert_eq!(version(&connection).unwrap(), MIGRATIONS.len() as i64);
            for (_, question) in &DATA[..old] {
                let kept: bool = connection
                    .query_row(question, [], |row| row.get(0))
                    .unwrap();
                assert!(kept, "from {old}: {question}");
            }
            assert!(sound(&connection));
        }
    }

    #[test]
    fn every_kind_of_row_has_its_table() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &MIGRATIONS).unwrap();
        for table in Table::ALL {
            let name = table.name();
            connection
                .execute_batch(&format!(
                    "INSERT INTO {name} (key, document) VALUES ('k', '{{}}')"
                ))
                .unwrap_or_else(|error| panic!("{name}: {error}; add a migration"));
        }
    }

    #[test]
    fn a_step_that_fails_undoes_those_before_it() {
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)", "nonsense"];
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &steps[..1]).unwrap();
        migrate(&mut connection, &steps).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        connection.execute_batch("SELECT x FROM a").unwrap();
        connection.execute_batch("SELECT x FROM b").unwrap_err();
    }

    #[test]
    fn a_newer_file_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        assert!(matches!(
            migrate(&mut connection, &MIGRATIONS),
            Err(MigrationError::Newer { found: 7, .. })
        ));
        assert_eq!(version(&connection).unwrap(), 7);
    }
}
