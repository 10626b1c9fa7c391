"""What the page of a classifier shows besides curves and config: its classes, and which of them it confuses."""

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.report import class_findings, class_table, confusions, headline, page
from vigor_jax.report.class_findings import ClassFindings
from vigor_jax.report.page import Content, Section
from vigor_jax.workdir import findings
from vigor_jax.workdir.results import Results

_CURVES = ("top1", "top5", "mean_class_top1")
_HEADLINE = (("top1",), ("top5",))


def content(run: Results, data: LabelledImages) -> Content:
    """Headlines, which metrics are drawn by epoch, and the sections.

    Raises:
      RunFileError: the findings are damaged or of another data set.
      ImageError: a damaged image.
    """
    found = class_findings.read(run.workdir, data)
    headlines = [headline.of_split(run, split, _HEADLINE) for split in run.splits]
    if not found:
        text = f"This run left no {findings.FILE_NAME}, so its classes cannot be shown one by one."
        sections = [Section("classes", "Classes", page.paragraph(text))]
    else:
        sections = _sections({split: found[split] for split in run.splits if split in found}, data)
    return Content(headlines=headlines, curves=list(_CURVES), sections=sections)


def _sections(found: dict[str, ClassFindings], data: LabelledImages) -> list[Section]:
    return [
        Section(
            "confusions",
            "What is taken for what",
            page.fragment(
                "confusions.html",
                pictures=[confusions.picture(split, each, data) for split, each in found.items()],
                right=confusions.RIGHT,
                wrong=confusions.WRONG,
            ),
        ),
        Section(
            "pairs",
            "The most frequent confusions",
            page.fragment("pairs.html", splits={split: confusions.worst(each, data) for split, each in found.items()}),
        ),
        Section(
            "classes",
            "Class by class",
            page.fragment(
                "classes.html", splits={split: class_table.of_split(each, data) for split, each in found.items()}
            ),
        ),
    ]
