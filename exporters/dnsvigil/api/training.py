"""What the operator's own data has to train with: names, and labelled examples of what detectors found."""

from dnsvigil.api.interface import Answer, Parameters, TupleSource
from dnsvigil.api.parameters import only
from dnsvigil.config.collector import Config
from dnsvigil.detectors.runner import labelled
from dnsvigil.features.popular import own_popular_domains
from dnsvigil.store.findings import dismissed_domains


def lessons(reader: TupleSource, config: Config, asked: Parameters) -> Answer:
    """Return the popular domains, how many were left out as suspected, the domains of dismissed findings, and examples.

    These are by detector, the newest first.
    """
    only(asked)
    own = own_popular_domains(reader.read, reader.tuples)
    dismissed = dismissed_domains(reader.read)
    examples = {each.detector: each.records(each.learn(reader.read)) for each in labelled(config.detectors.disabled)}
    content = {"popular": own.popular, "suspected": own.suspected, "dismissed": dismissed, "examples": examples}
    return Answer(content)
