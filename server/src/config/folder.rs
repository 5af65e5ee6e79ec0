//! The data folder: lock and keys.
//!
//! In: a path. Out: a locked [`DataFolder`], the [`FleetKey`].
//! *Invariant:* two servers never work on one data folder; a key that others could read is never used.
//! Start reading at [`DataFolder::open`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::api::fleet_key::FleetKey;

/// A data folder that cannot be used; one line for whoever started the program.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("another server uses the data folder {0}")]
    InUse(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: a fleet key is 64 hex digits; delete the file to have a new one made")]
    KeyFormat { path: PathBuf },
    #[error("{path}: others can read this key (mode {mode:03o}); run `chmod 600` on it")]
    KeyOpen { path: PathBuf, mode: u32 },
}

/// The data folder, ours alone while this lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder when it is missing and locks it.
    ///
    /// # Errors
    /// When another server has it, or it cannot be written.
    pub fn open(path: &Path) -> Result<DataFolder, FolderError> {
        let lock_path = path.join("server.lock");
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataFolder { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(FolderError::Io { path: lock_path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where results wait for the store.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Where capsules of panicked shards are kept.
    pub fn capsules(&self) -> PathBuf {
        self.path.join("capsules")
    }

    /// The fleet key, made on first use.
    ///
    /// # Errors
    /// When the file is not a key or not private.
    pub fn fleet_key(&self) -> Result<FleetKey, FolderError> {
        let folder = self.path.join("keys");
        let path = folder.join("fleet.key");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed(&folder))?;
        if !path.exists() {
            create_key(&folder, &path).map_err(failed(&path))?;
        }
        let mode = fs::metadata(&path).map_err(failed(&path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(FolderError::KeyOpen { path, mode });
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        let text = text.trim_end();
        let is_key = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        if is_key { Ok(FleetKey::new(text)) } else { Err(FolderError::KeyFormat { path }) }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}

/// Writes a new key beside its place and renames it, so that a crash never leaves half a key.
fn create_key(folder: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; 32];
    OsRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let fresh = path.with_extension("key.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}
