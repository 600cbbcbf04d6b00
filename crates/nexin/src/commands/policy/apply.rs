//! `nexin policy apply`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nexin_api::v1::{PolicyApplyReply, PolicyFile, PolicySet};

use super::super::Context;
use super::{files, validate};
use crate::error::Result;
use crate::output::{Paint, Progress, Style};

#[derive(Args)]
pub(crate) struct Apply {
    /// Files or directories of YAML documents, - for standard input
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Namespace of documents that name none
    #[arg(short, long)]
    namespace: Option<String>,
}

/// All files are one change: in force afterwards, or nothing of them.
pub(crate) async fn apply(context: &Context, args: &Apply) -> Result<ExitCode> {
    let file = |file: files::PolicyFile| PolicyFile { file: file.name, yaml: file.text };
    let files: Vec<PolicyFile> = files::read(&args.files)?.into_iter().map(file).collect();
    let progress = Progress::new();
    progress.say(&format!("applying {}", files.iter().map(|file| file.file.as_str()).collect::<Vec<_>>().join(", ")));
    let set = PolicySet { files, namespace: args.namespace.clone() };
    let reply = context.client()?.apply_policy_set(&set).await;
    drop(progress);
    let reply = reply?;
    context.out.show(&reply, |style| render(&reply, style))?;
    Ok(ExitCode::SUCCESS)
}

fn render(reply: &PolicyApplyReply, style: Style) -> String {
    let mut text = String::new();
    for policy in &reply.applied {
        text.push_str(&format!("{policy} {}\n", style.paint(Paint::Good, "applied")));
    }
    for policy in &reply.unchanged {
        text.push_str(&format!("{policy} unchanged\n"));
    }
    text.push_str(&validate::diagnostics(&reply.warnings, "", style));
    let endpoints = match reply.endpoints_changed {
        1 => "1 workload has".to_owned(),
        count => format!("{count} workloads have"),
    };
    text.push_str(
        &style.dim(&format!("{endpoints} new rules; in force from epoch {} on, for running flows too\n", reply.epoch)),
    );
    text
}
