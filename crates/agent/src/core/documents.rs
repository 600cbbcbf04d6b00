//! Texts to documents: what may be applied, and everything there is to say of what may not. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};

use nexin_api::v1::{Diagnostic, PolicyRef, Severity, ValidateReply};
use nexin_policy::input;
use nexin_policy::rule::{self, DocumentKey};

use super::{Core, lower_options, policy_ref};
use crate::state::StateError;
use crate::words::diagnostic;

/// A text with documents.
#[derive(Clone, Debug)]
pub(crate) struct UploadText {
    pub(crate) text: String,
    pub(crate) file: String,
    /// Namespace of documents that name none.
    pub(crate) namespace: Option<String>,
}

/// Documents that may be applied, and what to say of them.
pub(super) struct Read {
    pub(super) documents: Vec<rule::Document>,
    pub(super) warnings: Vec<Diagnostic>,
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

    pub(super) fn parse(&self, upload: &UploadText) -> (Vec<rule::Document>, Vec<Diagnostic>) {
        let parsed = input::parse(&upload.text, &upload.file, input::Options::default());
        let mut diagnostics: Vec<Diagnostic> = parsed.diagnostics.iter().map(diagnostic).collect();
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

    /// The texts of one change: all of them are good, or everything that is wrong with any is told.
    pub(super) fn read_set(&self, uploads: &[UploadText]) -> Result<Vec<Read>, PolicyError> {
        let (mut reads, mut invalid, mut not_built) = (Vec::new(), Vec::new(), Vec::new());
        for upload in uploads {
            match self.read(upload) {
                Ok(read) => reads.push(read),
                Err(PolicyError::Invalid(said)) => invalid.extend(said),
                Err(PolicyError::NotEnforceable(said)) => not_built.extend(said),
                Err(other) => return Err(other),
            }
        }
        if !invalid.is_empty() {
            invalid.append(&mut not_built);
            return Err(PolicyError::Invalid(invalid));
        }
        if !not_built.is_empty() {
            return Err(PolicyError::NotEnforceable(not_built));
        }
        let mut seen = BTreeMap::new();
        for (read, upload) in reads.iter().zip(uploads) {
            for document in &read.documents {
                if let Some(other) = seen.insert(&document.key, &upload.file) {
                    let file = format!("{other} and {}", upload.file);
                    return Err(PolicyError::Twice { document: document.key.clone(), file });
                }
            }
        }
        Ok(reads)
    }

    pub(super) fn read(&self, upload: &UploadText) -> Result<Read, PolicyError> {
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
