//! Documents: applied whole or not at all, from the API or from the watched directory, kept as they were written.

use std::collections::{BTreeMap, BTreeSet};

use nexin_api::v1::{Diagnostic, PolicyApplyReply, PolicyOrigin, PolicyRef, Timestamp};
use nexin_policy::engine::Applied;
use nexin_policy::rule::{self, DocumentKey};
use nexin_policy::tables::PolicyKey;

use super::documents::{Read, problem};
use super::{Core, PolicyError, UploadText, policy_ref};
use crate::state::{StateError, UploadRecord};
use crate::words::document_key;

/// What was in force before a change, to go back to when the kernel has no room.
#[derive(Clone)]
pub(crate) struct Before {
    uploads: BTreeMap<String, UploadRecord>,
    sources: BTreeMap<DocumentKey, String>,
    documents: Vec<rule::Document>,
}

/// What a change did.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) applied: Vec<DocumentKey>,
    pub(crate) unchanged: Vec<DocumentKey>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) endpoints: u32,
}

impl Core {
    /// Reads, judges and puts in force every document of all `uploads`, or none of any.
    pub(crate) fn apply_uploads(&mut self, uploads: Vec<UploadText>, now: Timestamp) -> Result<Changed, PolicyError> {
        let reads = self.read_set(&uploads)?;
        for document in reads.iter().flat_map(|read| &read.documents) {
            if let Some((_, record)) = self.upload_of(&document.key)
                && record.origin == PolicyOrigin::Directory
            {
                return Err(PolicyError::Watched { document: document.key.clone(), file: record.file.clone() });
            }
        }
        let before = self.before();
        let enforced = self.enforced();
        let mut changed = Changed::default();
        for (upload, read) in uploads.into_iter().zip(reads) {
            let name = self.free_upload_name();
            if let Err(error) = self.put(&name, PolicyOrigin::Api, upload, read, now, &mut changed) {
                self.roll_back(before)?;
                return Err(error);
            }
        }
        self.resolve_since(&enforced, &mut changed);
        Ok(changed)
    }

    /// The same for a file of the watched directory: what it no longer says is taken away; a bad version changes nothing
    /// and is remembered as a problem.
    pub(crate) fn apply_file(&mut self, upload: UploadText, now: Timestamp) -> Result<Changed, PolicyError> {
        let name = file_upload_name(&upload.file);
        let file = upload.file.clone();
        let same = self.uploads.get(&name).is_some_and(|record| record.text == upload.text);
        if same && !self.file_problems.contains_key(&file) {
            return Ok(Changed::default());
        }
        let done = self.read(&upload).and_then(|read| {
            for document in &read.documents {
                if let Some((owner, record)) = self.upload_of(&document.key)
                    && record.origin == PolicyOrigin::Directory
                    && *owner != name
                {
                    return Err(PolicyError::Taken { document: document.key.clone(), file: record.file.clone() });
                }
            }
            let (enforced, mut changed) = (self.enforced(), Changed::default());
            self.put(&name, PolicyOrigin::Directory, upload, read, now, &mut changed)?;
            self.resolve_since(&enforced, &mut changed);
            Ok(changed)
        });
        match &done {
            Ok(_) => self.file_problems.remove(&file),
            Err(error) => self.file_problems.insert(file, problem(error)),
        };
        done
    }

    /// A file of the watched directory cannot be read.
    pub(crate) fn file_unreadable(&mut self, file: String, reason: String) {
        self.file_problems.insert(file, reason);
    }

    /// A file of the watched directory is gone: so are its documents.
    pub(crate) fn remove_file(&mut self, file: &str) -> Result<(), PolicyError> {
        self.file_problems.remove(file);
        let name = file_upload_name(file);
        let Some(record) = self.uploads.get(&name) else { return Ok(()) };
        let keys: Vec<DocumentKey> = record.in_force.clone();
        for key in keys {
            self.withdraw(&key);
        }
        self.uploads.remove(&name);
        self.store.remove_upload(&name)?;
        self.resolve_everything();
        Ok(())
    }

    /// Files of the watched directory that something is in force from.
    pub(crate) fn watched_files(&self) -> BTreeSet<String> {
        let watched = self.uploads.values().filter(|record| record.origin == PolicyOrigin::Directory);
        watched.map(|record| record.file.clone()).chain(self.file_problems.keys().cloned()).collect()
    }

    /// Takes a document out of force.
    pub(crate) fn delete_document(&mut self, reference: &PolicyRef) -> Result<(), PolicyError> {
        let key = document_key(reference);
        let (name, record) = self.upload_of(&key).ok_or_else(|| PolicyError::NoSuchDocument(reference.clone()))?;
        if record.origin == PolicyOrigin::Directory {
            return Err(PolicyError::Watched { document: key, file: record.file.clone() });
        }
        let name = name.clone();
        self.withdraw(&key);
        self.keep_or_drop(&name)?;
        self.resolve_everything();
        Ok(())
    }

    pub(crate) fn before(&self) -> Before {
        Before {
            uploads: self.uploads.clone(),
            sources: self.sources.clone(),
            documents: self.engine.documents().cloned().collect(),
        }
    }

    /// Back to what was in force at `before`, on disk too.
    pub(crate) fn roll_back(&mut self, before: Before) -> Result<(), StateError> {
        let now: Vec<DocumentKey> = self.engine.documents().map(|document| document.key.clone()).collect();
        for key in now.iter().filter(|key| !before.sources.contains_key(key)) {
            self.engine.remove(key);
        }
        for document in before.documents {
            self.engine.apply(document);
        }
        for name in self.uploads.keys().filter(|name| !before.uploads.contains_key(*name)) {
            self.store.remove_upload(name)?;
        }
        for (name, record) in &before.uploads {
            if self.uploads.get(name) != Some(record) {
                self.store.save_upload(name, record)?;
            }
        }
        self.uploads = before.uploads;
        self.sources = before.sources;
        self.resolve_everything();
        Ok(())
    }

    /// Uploads of an earlier run. What cannot be read any more (an older agent, say) is reported and kept on disk.
    pub(super) fn restore_uploads(&mut self, uploads: BTreeMap<String, UploadRecord>) {
        for (name, record) in uploads {
            let number = name.strip_prefix("api-").and_then(|number| number.parse::<u64>().ok());
            self.next_upload = self.next_upload.max(number.map_or(0, |number| number + 1));
            let upload = UploadText {
                text: record.text.clone(),
                file: record.file.clone(),
                namespace: record.namespace.clone(),
            };
            let (documents, diagnostics) = self.parse(&upload);
            for document in documents.into_iter().filter(|document| record.in_force.contains(&document.key)) {
                if document.rules.iter().all(|rule| rule.unbuilt().is_none()) {
                    self.sources.insert(document.key.clone(), name.clone());
                    self.engine.apply(document);
                }
            }
            let missing = record.in_force.iter().filter(|key| !self.sources.contains_key(key)).count();
            if missing > 0 {
                let note =
                    format!("{}: {missing} documents that were in force cannot be used by this version", record.file);
                tracing::error!(?diagnostics, "{note}");
                self.quarantined.push(note);
            }
            self.uploads.insert(name, record);
        }
    }

    // === steps ===

    /// Gives the engine the documents of an upload, under its name; what the upload had before and has no more goes. Nothing
    /// is resolved yet.
    fn put(
        &mut self,
        name: &str,
        origin: PolicyOrigin,
        upload: UploadText,
        read: Read,
        now: Timestamp,
        changed: &mut Changed,
    ) -> Result<(), PolicyError> {
        let keys: Vec<DocumentKey> = read.documents.iter().map(|document| document.key.clone()).collect();
        let UploadText { text, file, namespace } = upload;
        let record = UploadRecord { origin, file, namespace, text, in_force: keys.clone(), applied: now };
        self.store.save_upload(name, &record)?;
        let gone = self.uploads.get(name).map(|old| old.in_force.clone()).unwrap_or_default();
        for key in gone.iter().filter(|key| !keys.contains(key)) {
            self.withdraw(key);
        }
        changed.warnings.extend(read.warnings);
        let mut losers = BTreeSet::new();
        for document in read.documents {
            let key = document.key.clone();
            if let Some(loser) = self.sources.insert(key.clone(), name.to_owned())
                && loser != name
            {
                losers.insert(loser);
            }
            match self.engine.apply(document) {
                Applied::Unchanged => changed.unchanged.push(key),
                Applied::Added | Applied::Replaced => changed.applied.push(key),
            }
        }
        self.uploads.insert(name.to_owned(), record);
        for loser in losers {
            if let Some(record) = self.uploads.get_mut(&loser) {
                record.in_force.retain(|key| !keys.contains(key));
            }
            self.keep_or_drop(&loser)?;
        }
        Ok(())
    }

    /// Policies of all endpoints, in the order of their numbers.
    fn enforced(&self) -> Vec<[Option<PolicyKey>; 2]> {
        self.endpoints.values().map(|endpoint| [endpoint.ingress, endpoint.egress]).collect()
    }

    /// Resolves, and counts the endpoints whose policies are no longer those of `before`.
    fn resolve_since(&mut self, before: &[[Option<PolicyKey>; 2]], changed: &mut Changed) {
        self.resolve_everything();
        let differing = before.iter().zip(self.enforced()).filter(|(before, after)| *before != after).count();
        changed.endpoints = u32::try_from(differing).unwrap_or(u32::MAX);
    }

    fn withdraw(&mut self, key: &DocumentKey) {
        self.engine.remove(key);
        if let Some(name) = self.sources.remove(key)
            && let Some(record) = self.uploads.get_mut(&name)
        {
            record.in_force.retain(|other| other != key);
        }
    }

    /// Writes an upload down again, or removes it when nothing is in force from it.
    fn keep_or_drop(&mut self, name: &str) -> Result<(), StateError> {
        match self.uploads.get(name) {
            Some(record) if !record.in_force.is_empty() => self.store.save_upload(name, record),
            Some(_) => {
                self.uploads.remove(name);
                self.store.remove_upload(name)
            }
            None => Ok(()),
        }
    }

    pub(super) fn upload_of(&self, key: &DocumentKey) -> Option<(&String, &UploadRecord)> {
        let name = self.sources.get(key)?;
        Some((name, self.uploads.get(name)?))
    }

    fn free_upload_name(&mut self) -> String {
        let number = self.next_upload;
        self.next_upload += 1;
        format!("api-{number:08}")
    }
}

/// Name of the state file of a watched file: its path with a hash, since paths have slashes and may be long.
pub(super) fn file_upload_name(file: &str) -> String {
    let hash = file
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("file-{hash:016x}")
}

/// The API's answer to a change that is in force.
pub(crate) fn applied_reply(changed: Changed, epoch: u32) -> PolicyApplyReply {
    PolicyApplyReply {
        applied: changed.applied.iter().map(policy_ref).collect(),
        unchanged: changed.unchanged.iter().map(policy_ref).collect(),
        warnings: changed.warnings,
        endpoints_changed: changed.endpoints,
        epoch,
    }
}
