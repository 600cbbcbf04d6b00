//! A file of lines that is put aside when it is full. Names and order of the files put aside are those that Hubble's exporter (and so
//! people's log shippers) know: `name-2006-01-02T15-04-05.000.ext`, with `.gz` when compressed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How a file is kept in bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Bytes; a single line may be longer. 0: no bound.
    pub(crate) max_bytes: u64,
    /// Files put aside that are kept; 0: all.
    pub(crate) max_backups: usize,
    pub(crate) compress: bool,
}

/// See the module.
pub(crate) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<(File, u64)>,
}

impl RotatingFile {
    pub(crate) fn new(path: &Path, rotation: Rotation) -> Self {
        Self { path: path.to_owned(), rotation, open: None }
    }

    /// Appends whole lines. What was there before the program started is kept.
    pub(crate) fn write(&mut self, lines: &[u8], now: SystemTime) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (_, size) = self.opened()?;
            let fits = match self.rotation.max_bytes {
                0 => rest.len(),
                most => whole_lines(rest, usize::try_from(most.saturating_sub(size)).unwrap_or(usize::MAX)),
            };
            if fits == 0 && size > 0 {
                self.rotate(now)?;
                continue;
            }
            // A line that no file has room for gets one of its own.
            let (now_written, later) = rest.split_at(if fits == 0 { whole_line(rest) } else { fits });
            let (mut file, size) = self.opened()?;
            file.write_all(now_written)?;
            self.open = Some((file, size + now_written.len() as u64));
            rest = later;
        }
        Ok(())
    }

    /// Takes the open file, after opening it if need be; the caller puts it back.
    fn opened(&mut self) -> io::Result<(File, u64)> {
        if let Some((file, size)) = &self.open {
            let same = std::fs::metadata(&self.path).is_ok_and(|named| {
                file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (named.dev(), named.ino()))
            });
            // Moved or deleted by somebody else: go on in a new file of the old name.
            if same {
                return Ok((file.try_clone()?, *size));
            }
        }
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let size = file.metadata()?.len();
        self.open = Some((file.try_clone()?, size));
        Ok((file, size))
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        self.open = None;
        let mode = std::fs::metadata(&self.path)?.permissions().mode();
        let mut aside = self.backup(now);
        let mut later = now;
        while aside.exists() || gzipped(&aside).exists() {
            later += Duration::from_millis(1);
            aside = self.backup(later);
        }
        std::fs::rename(&self.path, &aside)?;
        let file = OpenOptions::new().append(true).create(true).mode(mode).open(&self.path)?;
        self.open = Some((file, 0));
        if self.rotation.compress {
            compress(&aside)?;
        }
        self.prune()
    }

    fn backup(&self, at: SystemTime) -> PathBuf {
        let (stem, extension) = self.parts();
        self.path.with_file_name(format!("{stem}-{}{extension}", stamp(at)))
    }

    /// What stands before and after the time in the names of files put aside.
    fn parts(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension().map(|text| format!(".{}", text.to_string_lossy()));
        (stem, extension.unwrap_or_default())
    }

    /// Files put aside, the newest first.
    fn backups(&self) -> io::Result<Vec<PathBuf>> {
        let (stem, extension) = self.parts();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| {
                let rest = rest.strip_suffix(".gz").unwrap_or(rest);
                rest.strip_suffix(extension.as_str())
            });
            if let Some(time) = time.filter(|time| is_stamp(time)) {
                found.push((time.to_owned(), path.clone()));
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    fn prune(&self) -> io::Result<()> {
        if self.rotation.max_backups == 0 {
            return Ok(());
        }
        self.backups()?.into_iter().skip(self.rotation.max_backups).try_for_each(std::fs::remove_file)
    }
}

/// Bytes of the whole lines that fit into `room`.
fn whole_lines(lines: &[u8], room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn whole_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

fn gzipped(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let packed = gzipped(path);
    let mode = std::fs::metadata(path)?.permissions().mode();
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&packed)?;
    let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

/// `2006-01-02T15-04-05.000`, in UTC.
fn stamp(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = nexin_hubble::json::date(i64::try_from(seconds / 86_400).unwrap_or(i64::MAX));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

fn is_stamp(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd-dd-dd.ddd";
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, max_bytes: u64, max_backups: usize, compress: bool) -> RotatingFile {
        RotatingFile::new(&folder.join("sub/events.log"), Rotation { max_bytes, max_backups, compress })
    }

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_600_000_000 + millis)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder.join("sub")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn full_files_are_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = file(folder.path(), 8, 2, false);
        for n in 0..5_u64 {
            file.write(format!("{n}aaaaa\n").as_bytes(), at(n)).unwrap();
        }
        assert_eq!(
            names(folder.path()),
            ["events-2026-03-04T04-53-20.003.log", "events-2026-03-04T04-53-20.004.log", "events.log"]
        );
        let sub = folder.path().join("sub");
        assert_eq!(std::fs::read_to_string(sub.join("events.log")).unwrap(), "4aaaaa\n");
        assert_eq!(std::fs::metadata(sub.join("events.log")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_batch_is_cut_at_lines_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = file(folder.path(), 10, 0, true);
        let lines: String = (0..20).map(|n| format!("line {n}\n")).chain(["x".repeat(30) + "\n"]).collect();
        file.write(lines.as_bytes(), at(0)).unwrap();
        let mut found = String::new();
        for name in names(folder.path()) {
            let bytes = std::fs::read(folder.path().join("sub").join(&name)).unwrap();
            if name.ends_with(".gz") {
                let mut text = String::new();
                io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut text).unwrap();
                found.push_str(&text);
            } else {
                found.push_str(&String::from_utf8(bytes).unwrap());
            }
        }
        assert_eq!(found, lines);
        assert_eq!(names(folder.path()).len(), 21);
    }

    #[test]
    fn an_earlier_run_is_gone_on_with_and_a_moved_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), 100, 5, false).write(b"first\n", at(0)).unwrap();
        let mut again = file(folder.path(), 100, 5, false);
        again.write(b"second\n", at(1)).unwrap();
        let path = folder.path().join("sub/events.log");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond\n");
        std::fs::rename(&path, folder.path().join("sub/elsewhere")).unwrap();
        again.write(b"third\n", at(2)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third\n");
    }
}
