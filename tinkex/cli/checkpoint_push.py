"""``tinkex checkpoint push-hf``: publishes a checkpoint as a model on the Hugging Face hub."""

from __future__ import annotations

import json
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinkex.cli import call as calls
from tinkex.cli.checkpoint_download import fetch
from tinkex.cli.failures import CallFailed
from tinkex.cli.output import properties, show, yes
from tinkex.cli.progress import progress

if TYPE_CHECKING:
    from tinkex.types.rest import ParsedCheckpointTinkerPath
    from tinkex.types.server import WeightsInfoResponse

_MARKER = "checkpoint_complete"
"""An empty file in the archives of the hosted service. It is not pushed."""


@click.command("push-hf")
@click.argument("checkpoint_path")
@click.option("--repo", "-r", help="As user/name. [default: a name made of base model and run]")
@click.option(
    "--public", is_flag=True, help="Everybody may read a repository made by this. [default: private]"
)
@click.option("--revision", help="The branch to push to. [default: main, or by checkpoint without --repo]")
@click.option("--commit-message", help="[default: the hub's]")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of pushing.")
@click.option("--allow-pattern", multiple=True, help="Push only files that match; may be repeated.")
@click.option("--ignore-pattern", multiple=True, help="Leave out files that match; may be repeated.")
@click.option("--no-model-card", is_flag=True, help="Write no README.md where there is none.")
@calls.server
def push_hf(
    call: calls.Call,
    *,
    checkpoint_path: str,
    repo: str | None,
    public: bool,
    revision: str | None,
    commit_message: str | None,
    create_pr: bool,
    allow_pattern: tuple[str, ...],
    ignore_pattern: tuple[str, ...],
    no_model_card: bool,
) -> None:
    """Push a checkpoint to the Hugging Face hub. Needs huggingface_hub, logged in by 'hf auth login'."""
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    path = ParsedCheckpointTinkerPath.from_tinker_path(checkpoint_path)
    hub = _hub()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoint"
        with call.rest() as client, progress("downloading", in_bytes=True) as update:
            fetch(call, client, checkpoint_path, folder, update)
            weights = client.get_weights_info_by_tinker_path(checkpoint_path).result()
        _check_files(folder)
        if repo is None:
            repo, revision = _repo_name(path, weights), revision or _safe(path.checkpoint_id)
        _complete(folder, path, weights, repo, card=not no_model_card)
        with progress("pushing"):
            try:
                url = _push(
                    hub,
                    folder,
                    checkpoint_path,
                    {"repo_id": repo, "revision": revision},
                    private=not public,
                    commit_message=commit_message,
                    create_pr=create_pr,
                    allow_patterns=list(allow_pattern) or None,
                    ignore_patterns=[*ignore_pattern, _MARKER],
                )
            except click.ClickException:
                raise
            except (
                Exception
            ) as error:  # the hub's client has had several HTTP libraries, each with its errors
                raise CallFailed(f"the hub refused: {error}") from error
    done = {"checkpoint_path": checkpoint_path, "repo_id": repo, "revision": revision, "public": public}
    values = {"checkpoint": checkpoint_path, "repository": repo, "revision": revision, "public": yes(public)}
    show(call, {**done, "url": url}, properties("pushed", {**values, "URL": url}))


def _hub() -> Any:
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise CallFailed("push-hf needs huggingface_hub: pip install huggingface_hub") from None
    if hub.get_token() is None:
        raise CallFailed("not logged in to the Hugging Face hub: run 'hf auth login', or set HF_TOKEN")
    return hub


def _check_files(folder: Path) -> None:
    if not any(file.suffix in (".safetensors", ".bin") for file in folder.rglob("*")):
        raise CallFailed("the checkpoint has no .safetensors or .bin file to push (is it encrypted?)")


def _push(
    hub: Any, folder: Path, checkpoint_path: str, place: dict[str, Any], *, private: bool, **options: Any
) -> str:
    api = hub.HfApi()
    api.create_repo(place["repo_id"], private=private, exist_ok=True)
    other = _other_checkpoint(hub, api, place, checkpoint_path)
    if other is not None:
        raise CallFailed(f"{place['repo_id']} holds {other} already; give another --repo or --revision")
    branch = place["revision"]
    if branch is not None and not options["create_pr"]:
        api.create_branch(place["repo_id"], branch=branch, exist_ok=True)
    return str(api.upload_folder(folder_path=folder, **place, **options))


def _other_checkpoint(hub: Any, api: Any, place: dict[str, Any], checkpoint_path: str) -> str | None:
    """Return the checkpoint that a repository's model card names, unless it names this one or none."""
    try:
        card = Path(api.hf_hub_download(filename="README.md", **place)).read_text("utf-8", "replace")
    except hub.utils.LocalEntryNotFoundError:  # a subclass of EntryNotFoundError; the hub did not answer
        raise
    except (hub.utils.EntryNotFoundError, hub.utils.RevisionNotFoundError):
        return None
    named = re.search(r"tinker://[^\s`]+", card)
    return named[0] if named and named[0] != checkpoint_path else None


def _safe(text: str) -> str:
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)).strip("-_.")


def _repo_name(path: ParsedCheckpointTinkerPath, weights: WeightsInfoResponse) -> str:
    return _safe(f"tinker-{weights.base_model.split('/')[-1]}-{path.training_run_id}")


def _complete(
    folder: Path, path: ParsedCheckpointTinkerPath, weights: WeightsInfoResponse, repo: str, *, card: bool
) -> None:
    """Add the name of the base model to the adapter's config, and a model card, if they are missing."""
    config, readme = folder / "adapter_config.json", folder / "README.md"
    is_peft = config.exists()
    if is_peft:
        settings = json.loads(config.read_text("utf-8"))
        if not settings.get("base_model_name_or_path"):
            settings["base_model_name_or_path"] = weights.base_model
            config.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    if card and not readme.exists():
        readme.write_text(_model_card(path, weights, repo, is_peft=is_peft), "utf-8")


def _model_card(
    path: ParsedCheckpointTinkerPath, weights: WeightsInfoResponse, repo: str, *, is_peft: bool
) -> str:
    head = ["---", f"base_model: {weights.base_model}", "tags: [tinker, lora]"]
    lines = [f"# {repo.split('/')[-1]}", "", f"LoRA weights for `{weights.base_model}`, trained with Tinker."]
    if is_peft:
        head.append("library_name: peft")
        load = f'AutoPeftModelForCausalLM.from_pretrained("{repo}")'
        lines += ["", "```python", "from peft import AutoPeftModelForCausalLM", "", f"model = {load}", "```"]
    lines += ["", f"- checkpoint: `{path.tinker_path}`", f"- LoRA rank: {weights.lora_rank or 'unknown'}"]
    return "\n".join([*head, "---", "", *lines, ""])
