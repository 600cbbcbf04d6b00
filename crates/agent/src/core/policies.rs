//! Documents: applied whole or not at all, from the API or from the watched directory, kept as they were written.

use std::collections::{BTreeMap, BTreeSet};

use nexin_api::v1::{
    Diagnostic, Policy, PolicyApplyReply, PolicyKind, PolicyOrigin, PolicyRef, PolicyState, PolicyStatus, Severity,
    Timestamp, ValidateReply,
};
use nexin_policy::engine::Applied;
use nexin_policy::input;
use nexin_policy::rule::{self, DocumentKey, Kind};

use super::{Core, lower_options};
use crate::state::{StateError, UploadRecord};

/// A text with documents.
#[derive(Clone, Debug)]
pub(crate) struct UploadText {
    pub(crate) text: String,
    pub(crate) file: String,
    /// Namespace of documents that name none.
    pub(crate) namespace: Option<String>,
}

/// Documents that may be applied, and what to say of them.
struct Read {
    documents: Vec<rule::Document>,
    warnings: Vec<Diagnostic>,
}

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

#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("{} of the documents cannot be used; nothing was applied", errors(.0))]
    Invalid(Vec<Diagnostic>),
    #[error("the documents need parts that are not enforced yet; nothing was applied")]
    NotEnforceable(Vec<Diagnostic>),
    #[error("there is no document in {0}")]
    Empty(String),
    #[error("{document} is written twice in {file}")]
    Twice { document: DocumentKey, file: String },
    #[error("{document} belongs to {file} in the watched directory")]
    Watched { document: DocumentKey, file: String },
    #[error("{document} is in force from {file} already")]
    Taken { document: DocumentKey, file: String },
    #[error("no document is called {0}")]
    NoSuchDocument(PolicyRef),
    #[error(transparent)]
    State(#[from] StateError),
}

fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
}

impl Core {
    /// Reads, judges and puts in force every document of `upload`, or none.
    pub(crate) fn apply_upload(&mut self, upload: UploadText, now: Timestamp) -> Result<Changed, PolicyError> {
        let read = self.read(&upload)?;
        for document in &read.documents {
            if let Some((_, record)) = self.upload_of(&document.key)
                && record.origin == PolicyOrigin::Directory
            {
                return Err(PolicyError::Watched { document: document.key.clone(), file: record.file.clone() });
            }
        }
        let name = self.free_upload_name();
        self.put(&name, PolicyOrigin::Api, upload, read, now)
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
            self.put(&name, PolicyOrigin::Directory, upload, read, now)
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

    /// Everything there is to say, without applying.
    pub(crate) fn validate(&self, upload: &UploadText) -> ValidateReply {
        let (documents, diagnostics) = self.parse(upload);
        let valid = !documents.is_empty() && diagnostics.iter().all(|d| d.severity == Severity::Warning);
        let documents = documents.iter().map(|document| policy_ref(&document.key)).collect();
        ValidateReply { documents, diagnostics, valid }
    }

    /// Lowered documents of a text that could be applied, for simulations.
    pub(crate) fn read_documents(
        &self,
        upload: &UploadText,
    ) -> Result<(Vec<rule::Document>, Vec<Diagnostic>), PolicyError> {
        self.read(upload).map(|read| (read.documents, read.warnings))
    }

    pub(crate) fn policies(&self) -> Vec<Policy> {
        self.engine.documents().filter_map(|document| self.policy(document)).collect()
    }

    pub(crate) fn policy_problems(&self) -> Vec<PolicyStatus> {
        let in_force = |file: &str| self.uploads.contains_key(&file_upload_name(file));
        let problems = self.file_problems.iter();
        problems
            .map(|(file, message)| PolicyStatus {
                file: file.clone(),
                message: message.clone(),
                last_good_in_force: in_force(file),
            })
            .collect()
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

    fn parse(&self, upload: &UploadText) -> (Vec<rule::Document>, Vec<Diagnostic>) {
        let parsed = input::parse(&upload.text, &upload.file, input::Options::default());
        let mut diagnostics: Vec<Diagnostic> = diagnostics(&parsed.diagnostics);
        let options = lower_options(&self.settings);
        let mut documents = Vec::new();
        for mut document in parsed.documents {
            if document.meta.namespace.is_none() && document.namespace().is_some() {
                document.meta.namespace = upload.namespace.clone();
            }
            let lowered = document.lower(&options);
            diagnostics.extend(lowered.rules.iter().filter_map(unbuilt));
            documents.push(lowered);
        }
        diagnostics.sort_by_key(|d| (d.line, d.column));
        diagnostics.dedup();
        (documents, diagnostics)
    }

    fn read(&self, upload: &UploadText) -> Result<Read, PolicyError> {
        let (documents, diagnostics) = self.parse(upload);
        match diagnostics.iter().map(|diagnostic| diagnostic.severity).max() {
            Some(Severity::Error) => return Err(PolicyError::Invalid(diagnostics)),
            Some(Severity::NotEnforceable) => return Err(PolicyError::NotEnforceable(diagnostics)),
            Some(Severity::Warning) | None => {}
        }
        if documents.is_empty() {
            return Err(PolicyError::Empty(upload.file.clone()));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = documents.iter().find(|document| !seen.insert(&document.key)) {
            return Err(PolicyError::Twice { document: twice.key.clone(), file: upload.file.clone() });
        }
        Ok(Read { documents, warnings: diagnostics })
    }

    /// Puts documents in force under the name of an upload; what the upload had before and has no more goes.
    fn put(
        &mut self,
        name: &str,
        origin: PolicyOrigin,
        upload: UploadText,
        read: Read,
        now: Timestamp,
    ) -> Result<Changed, PolicyError> {
        let keys: Vec<DocumentKey> = read.documents.iter().map(|document| document.key.clone()).collect();
        let UploadText { text, file, namespace } = upload;
        let record = UploadRecord { origin, file, namespace, text, in_force: keys.clone(), applied: now };
        self.store.save_upload(name, &record)?;
        let gone = self.uploads.get(name).map(|old| old.in_force.clone()).unwrap_or_default();
        for key in gone.iter().filter(|key| !keys.contains(key)) {
            self.withdraw(key);
        }
        let mut changed = Changed { warnings: read.warnings, ..Changed::default() };
        let before: Vec<_> = self.endpoints.values().map(|endpoint| (endpoint.ingress, endpoint.egress)).collect();
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
        self.resolve_everything();
        let after = self.endpoints.values().map(|endpoint| (endpoint.ingress, endpoint.egress));
        let differing = before.iter().zip(after).filter(|(before, after)| *before != after).count();
        changed.endpoints = u32::try_from(differing).unwrap_or(u32::MAX);
        Ok(changed)
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

    fn upload_of(&self, key: &DocumentKey) -> Option<(&String, &UploadRecord)> {
        let name = self.sources.get(key)?;
        Some((name, self.uploads.get(name)?))
    }

    fn free_upload_name(&mut self) -> String {
        let number = self.next_upload;
        self.next_upload += 1;
        format!("api-{number:08}")
    }

    fn policy(&self, document: &rule::Document) -> Option<Policy> {
        let (_, record) = self.upload_of(&document.key)?;
        let rules = self.engine.rule_ids(&document.key);
        let first = document.rules.first();
        let line = first.map_or(1, |rule| rule.origin.line);
        let shadow = !document.rules.is_empty() && document.rules.iter().all(|rule| rule.shadow);
        let state = if self.file_problems.contains_key(&record.file) {
            PolicyState::Stale
        } else if shadow {
            PolicyState::Shadow
        } else {
            PolicyState::Enforced
        };
        let selected = self.endpoints.iter().filter(|(_, endpoint)| {
            nexin_model::Direction::BOTH.iter().any(|direction| {
                let of_endpoint = self.engine.rules_for(endpoint.identity, *direction);
                rules.iter().any(|rule| of_endpoint.contains(rule))
            })
        });
        Some(Policy {
            reference: policy_ref(&document.key),
            origin: record.origin,
            state,
            file: record.file.clone(),
            line,
            rules: u32::try_from(rules.len()).unwrap_or(u32::MAX),
            endpoints: selected.map(|(id, _)| *id).collect(),
            applied: record.applied,
            yaml: excerpt(&record.text, line),
        })
    }
}

/// The document of a multi-document text that holds `line` (from 1).
fn excerpt(text: &str, line: u32) -> String {
    let mut document = Vec::new();
    for (number, this) in text.lines().enumerate() {
        let separator = this == "---" || this.starts_with("--- ");
        if separator && number + 1 > line as usize {
            break;
        }
        if separator {
            document.clear();
        } else {
            document.push(this);
        }
    }
    let mut document = document.join("\n");
    document.push('\n');
    document
}

fn unbuilt(rule: &rule::Rule) -> Option<Diagnostic> {
    let part = rule.unbuilt()?;
    Some(Diagnostic {
        severity: Severity::NotEnforceable,
        file: rule.origin.file.to_string(),
        line: rule.origin.line,
        column: rule.origin.column,
        field: rule.origin.path.to_string(),
        message: format!("{}, and that is not enforced yet", part.text()),
        hint: Some("take the rule out, or keep the document back until this part is built".to_owned()),
    })
}

pub(crate) fn diagnostics(found: &[input::Diagnostic]) -> Vec<Diagnostic> {
    let diagnostic = |d: &input::Diagnostic| Diagnostic {
        severity: if d.is_error() { Severity::Error } else { Severity::Warning },
        file: d.file.to_string(),
        line: d.line,
        column: d.column,
        field: d.path.clone(),
        message: d.message.clone(),
        hint: d.help.clone(),
    };
    found.iter().map(diagnostic).collect()
}

/// What status says of a file that is not in force.
pub(crate) fn problem(error: &PolicyError) -> String {
    let first = match error {
        PolicyError::Invalid(diagnostics) | PolicyError::NotEnforceable(diagnostics) => {
            diagnostics.iter().max_by_key(|d| d.severity)
        }
        _ => None,
    };
    match first {
        Some(d) => format!("{error}: line {}, column {}: {}", d.line, d.column, d.message),
        None => error.to_string(),
    }
}

/// Name of the state file of a watched file: its path with a hash, since paths have slashes and may be long.
fn file_upload_name(file: &str) -> String {
    let hash = file
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("file-{hash:016x}")
}

pub(crate) fn policy_ref(key: &DocumentKey) -> PolicyRef {
    let kind = match key.kind {
        Kind::NetworkPolicy => PolicyKind::NetworkPolicy,
        Kind::CiliumNetworkPolicy => PolicyKind::CiliumNetworkPolicy,
        Kind::CiliumClusterwideNetworkPolicy => PolicyKind::CiliumClusterwideNetworkPolicy,
        Kind::ClusterNetworkPolicy => PolicyKind::ClusterNetworkPolicy,
        Kind::CiliumCIDRGroup => PolicyKind::CiliumCidrGroup,
    };
    PolicyRef { kind, namespace: key.namespace.as_deref().map(str::to_owned), name: key.name.to_string() }
}

pub(crate) fn document_key(reference: &PolicyRef) -> DocumentKey {
    let kind = match reference.kind {
        PolicyKind::NetworkPolicy => Kind::NetworkPolicy,
        PolicyKind::CiliumNetworkPolicy => Kind::CiliumNetworkPolicy,
        PolicyKind::CiliumClusterwideNetworkPolicy => Kind::CiliumClusterwideNetworkPolicy,
        PolicyKind::ClusterNetworkPolicy => Kind::ClusterNetworkPolicy,
        PolicyKind::CiliumCidrGroup => Kind::CiliumCIDRGroup,
    };
    DocumentKey {
        kind,
        namespace: reference.namespace.as_deref().map(Into::into),
        name: reference.name.as_str().into(),
    }
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
