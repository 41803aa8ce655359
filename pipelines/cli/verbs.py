"""Every verb of the command line by its name, in the order of its help."""

from typing import Final

from pipelines.cli.cluster_verbs import Submit
from pipelines.cli.housekeeping_verbs import Compact, Forget, RebuildLog
from pipelines.cli.paper_verbs import Bundle, Reproduce
from pipelines.cli.query_verbs import Export, Query
from pipelines.cli.report_verbs import Report
from pipelines.cli.search_verbs import Search
from pipelines.cli.tagging_verbs import Demo, Retag, Status, Tag
from pipelines.cli.training_verbs import (
    Embed,
    Evaluate,
    Fetch,
    Finetune,
    Fit,
    Prepare,
    Runs,
    Weights,
)
from pipelines.cli.verb import Verb

VERBS: Final[dict[str, type[Verb]]] = {
    "tag": Tag,
    "retag": Retag,
    "submit": Submit,
    "status": Status,
    "query": Query,
    "report": Report,
    "search": Search,
    "export": Export,
    "forget": Forget,
    "compact": Compact,
    "rebuild-log": RebuildLog,
    "demo": Demo,
    "fetch": Fetch,
    "weights": Weights,
    "prepare": Prepare,
    "finetune": Finetune,
    "embed": Embed,
    "fit": Fit,
    "evaluate": Evaluate,
    "runs": Runs,
    "reproduce": Reproduce,
    "bundle": Bundle,
}
