//! Names: which store, and which database of it, a file's name means.
//!
//! | what SQLite was given | means |
//! |---|---|
//! | `file:NAME?vfs=bop&store=DIR` | NAME in the store DIR, which is created if it is not there |
//! | `DIR/NAME`, where DIR is a store | NAME in it |
//! | `NAME`, with `$BOP_STORE` set | NAME in that store, which is created likewise |
//! | `NAME`, one store being open, unless the VFS is the default one | NAME in it |
//! | anything else | a file of the base VFS |
//!
//! The *full name* of a database, by which SQLite knows it from then on, is `DIR/NAME` with an absolute
//! DIR. Journals are named after it: what begins with the directory of an open store is ours.
//!
//! Invariant: NAME has no slash before an `@`: what stands behind that names a state.
//!
//! Never: opens anything.

use std::path::{Path, PathBuf};

/// A database that a name means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    /// The directory of the store: absolute, if there is any such directory.
    pub(crate) store: PathBuf,
    /// The name in it, perhaps with `@STATE`.
    pub(crate) name: String,
}

impl Located {
    fn new(store: &Path, name: &str) -> Self {
        Self {
            store: absolute(store),
            name: name.to_owned(),
        }
    }

    /// The name by which SQLite knows the database; `None` when the directory is no text.
    pub(crate) fn full_name(&self) -> Option<String> {
        Some(format!("{}/{}", self.store.to_str()?, self.name))
    }
}

/// What is known besides the name.
#[derive(Default)]
pub(crate) struct Known {
    /// The parameter `store` of a URI.
    pub(crate) parameter: Option<PathBuf>,
    /// `$BOP_STORE`, unless it is empty.
    pub(crate) environment: Option<PathBuf>,
    /// Directories of stores that are open.
    pub(crate) open: Vec<PathBuf>,
    /// Names that say nothing of a store mean files.
    pub(crate) is_default: bool,
}

/// The database that `name` means, or nothing if it is a file of the base VFS.
///
/// `name` is what the user gave, or a full name.
pub(crate) fn locate(
    name: &str,
    known: &Known,
    is_store: impl Fn(&Path) -> bool,
) -> Option<Located> {
    if let Some(store) = &known.parameter {
        let name = strip_directory(name, &absolute(store)).unwrap_or(name);
        return Some(Located::new(store, name));
    }
    let directories = known.open.iter().chain(&known.environment);
    for store in directories {
        let found = strip_directory(name, &absolute(store));
        if let Some(name) = found.filter(|name| !has_slash(name)) {
            return Some(Located::new(store, name));
        }
    }
    if let Some(found) = in_directory(name, is_store) {
        return Some(found);
    }
    if has_slash(name) {
        return None;
    }
    match (&known.environment, known.open.as_slice()) {
        (Some(store), _) => Some(Located::new(store, name)),
        (None, [store]) if !known.is_default => Some(Located::new(store, name)),
        _ => None,
    }
}

/// The database of a path whose directory is a store. A directory may have an `@` in its name, and so may what
/// stands behind that of a database, so the path may end before any of them: the longest one that does is it.
fn in_directory(name: &str, is_store: impl Fn(&Path) -> bool) -> Option<Located> {
    let ends = name.rmatch_indices('@').map(|(end, _)| end);
    for end in std::iter::once(name.len()).chain(ends) {
        let Some((store, _)) = name[..end].rsplit_once('/') else {
            continue;
        };
        let store_or_root = Path::new(if store.is_empty() { "/" } else { store });
        let rest = &name[store.len() + 1..];
        if !has_slash(rest) && is_store(store_or_root) {
            return Some(Located::new(store_or_root, rest));
        }
    }
    None
}

/// What stands behind the directory and a slash in a full name.
pub(crate) fn strip_directory<'n>(name: &'n str, directory: &Path) -> Option<&'n str> {
    let rest = name.strip_prefix(directory.to_str()?)?;
    rest.strip_prefix('/').filter(|rest| !rest.is_empty())
}

/// Whether a name, but for the state behind it, is a path.
pub(crate) fn has_slash(name: &str) -> bool {
    let name = name.split_once('@').map_or(name, |(before, _)| before);
    name.contains('/')
}

/// The directory without links, or as much of it as there is.
pub(crate) fn absolute(directory: &Path) -> PathBuf {
    if let Ok(found) = directory.canonicalize() {
        return found;
    }
    let parent = directory.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    match (parent.canonicalize(), directory.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()),
    }
}

/// Whether there is a store in a directory.
pub(crate) fn is_store(directory: &Path) -> bool {
    directory
        .join(bop_storage::io::layout::SUPERBLOCK)
        .is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(name: &str, known: &Known) -> Option<(String, String)> {
        let found = locate(name, known, |path| path == Path::new("/s/a"))?;
        Some((found.store.to_str().unwrap().to_owned(), found.name))
    }

    fn pair(store: &str, name: &str) -> Option<(String, String)> {
        Some((store.to_owned(), name.to_owned()))
    }

    #[test]
    fn the_parameter_wins_and_a_full_name_is_found_again() {
        let known = Known {
            parameter: Some("/x/new".into()),
            environment: Some("/x/env".into()),
            ..Known::default()
        };
        assert_eq!(located("app", &known), pair("/x/new", "app"));
        assert_eq!(located("/x/new/app", &known), pair("/x/new", "app"));
        let state = "app@snapshot:a/b";
        assert_eq!(located(state, &known), pair("/x/new", state));
        // No database has such a name: that is told when it is opened.
        assert_eq!(located("dir/app", &known), pair("/x/new", "dir/app"));
    }

    #[test]
    fn a_path_is_ours_where_its_directory_is_a_store() {
        let known = Known::default();
        assert_eq!(located("/s/a/app", &known), pair("/s/a", "app"));
        let state = "/s/a/app@time:2026-01-01T00:00:00Z";
        assert_eq!(
            located(state, &known),
            pair("/s/a", "app@time:2026-01-01T00:00:00Z")
        );
        assert_eq!(
            located("/s/a/app@snapshot:x/y", &known),
            pair("/s/a", "app@snapshot:x/y")
        );
        for file in ["/s/b/app", "/s/a/deep/app", "/s/a", "/app", "app", "./app"] {
            assert_eq!(located(file, &known), None, "{file}");
        }
        // A directory may be called as it likes.
        for store in ["/u@h/a", "/u@h/a@b", "u@h/a", "/s/a@lsn:1"] {
            for name in ["app", "app@snapshot:x/y", "app@snapshot:x@y/z"] {
                let found = locate(&format!("{store}/{name}"), &known, |path| {
                    path == Path::new(store)
                });
                let found = found.map(|found| found.name);
                assert_eq!(found.as_deref(), Some(name), "{store}/{name}");
            }
        }
        for file in ["/u@h/app", "/u@/s/a/app", "/u@h/b/app@snapshot:/s/a/x"] {
            assert_eq!(located(file, &known), None, "{file}");
        }
    }

    #[test]
    fn a_bare_name_needs_the_environment_or_a_single_open_store() {
        let environment = Known {
            environment: Some("/x/env".into()),
            is_default: true,
            ..Known::default()
        };
        assert_eq!(located("app", &environment), pair("/x/env", "app"));
        assert_eq!(located("/x/env/app", &environment), pair("/x/env", "app"));
        assert_eq!(located("/x/other/app", &environment), None);
        let mut open = Known {
            open: vec!["/o/one".into()],
            ..Known::default()
        };
        assert_eq!(located("app", &open), pair("/o/one", "app"));
        assert_eq!(located("/o/one/app", &open), pair("/o/one", "app"));
        assert_eq!(located("/o/one/dir/app", &open), None);
        open.is_default = true;
        assert_eq!(located("app", &open), None);
        assert_eq!(located("/o/one/app", &open), pair("/o/one", "app"));
        open.is_default = false;
        open.open.push("/o/two".into());
        assert_eq!(located("app", &open), None);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_absolute_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&here, here.join("link")).unwrap();
        assert_eq!(absolute(&here.join("link")), here);
        assert_eq!(absolute(&here.join("link/new")), here.join("new"));
        assert!(absolute(Path::new("some-new-store")).is_absolute());
    }
}
