"""The fourth pass: what an alignment says of a causal model and a network, with what it takes from another alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from causal_dsl.causal.model import CausalModel, refuse_unstated
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.causal.sets import no_value
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.chat import read_chat
from causal_dsl.program.definitions import find, meant
from causal_dsl.program.models import Terms
from causal_dsl.program.modules import Definition
from causal_dsl.program.options import ReadOptions
from causal_dsl.program.parameters import fixed_parameters, read_parameters, refuse_arguments
from causal_dsl.program.placements import read_placements
from causal_dsl.program.program import Aligned, Alignment, NetworkRef, PromptLine
from causal_dsl.program.read_training import unlike
from causal_dsl.program.shown import warn_unseen
from causal_dsl.program.templates import check_mask, check_placeholders, parse_template
from causal_dsl.syntax import tree


def read_alignment(
    definition: Definition,
    terms: Terms,
    models: Mapping[Definition, CausalModel],
    networks: Mapping[Definition, NetworkRef],
    alignments: Mapping[Definition, Alignment],
    options: ReadOptions,
    found: Diagnostics,
) -> Alignment | None:
    """A declared alignment; None where a fault was reported, in it or in what it names."""
    declaration, module = definition.declaration, definition.module
    assert isinstance(declaration, tree.AlignDecl)
    kinds = ("alignment", "causal model") if declaration.network is None else ("causal model", "alignment")
    above = find(module, declaration.model, found, *kinds)
    if declaration.network is None and above is not None and above.kind == "causal model":
        found.report(
            "E209",
            f"`{declaration.name.name}` aligns `{declaration.model.name}` with no network",
            declaration.model.span,
            help=f"write `: {declaration.model.name} -> network`",
        )
        return None
    parent = alignments.get(above) if above is not None else None
    model = parent.model if parent is not None else models.get(above) if above is not None else None
    if declaration.network is not None:
        network = meant(networks, module, declaration.network, found, "network")
    else:
        network = parent.network if parent is not None else None
    if model is None or network is None:
        return None
    if parent is not None and not _carries(parent, network, declaration, found):
        return None
    if not _without_parameters(declaration, parent, found):
        return None
    if parent is not None:
        given = tree.Call(tree.Name(declaration.model.name, span=declaration.model.span), declaration.model_fixed)
        fixed = fixed_parameters(given, parent, found)
        if fixed is None:
            return None
        left = {name: (fixed[name],) if name in fixed else values for name, values in parent.parameters.items()}
        parent = replace(parent, parameters=left)
    parameters = read_parameters(declaration, parent, network, found)
    own = _prompts(declaration, model, network, options, found)
    if own is None or parameters is None:
        return None
    if own and network.facts.traits.no_prompt is not None:
        why, instead = network.facts.traits.no_prompt
        found.report("E676", f"`{network.name}` has no tokens: {why}", own[0].span, help=instead)
        return None
    prompts = own or (parent.prompts if parent else ())
    aligned = Aligned(model, network, parameters, prompts)
    lines = read_placements(declaration, parent, aligned, terms, module, found)
    if lines is None:
        return None
    masked = any(readout.kind == "mask" for readout in lines.readouts.values())
    if masked and not all([check_mask(line.template, line.span, found) for line in prompts]):
        return None
    made = Alignment(
        declaration.name.name,
        model,
        network,
        parameters,
        prompts,
        lines.places,
        lines.readouts,
        lines.inputs,
        declaration.name.span,
        (parent.origin, *parent.parents) if parent else (),
        module.folder,
    )
    if parent is None or (parent.prompts, parent.inputs) != (prompts, lines.inputs):
        warn_unseen(made, found)
    return made


def _without_parameters(declaration: tree.AlignDecl, parent: Alignment | None, found: Diagnostics) -> bool:
    """Whether nothing is given to a causal model or a network that has no parameters (else E211): a family's are gone by now."""
    ends = [(declaration.model, declaration.model_fixed)] if parent is None else []
    if declaration.network is not None:
        ends.append((declaration.network, declaration.network_fixed))
    for name, fixed in ends:
        if fixed:
            refuse_arguments(name, fixed, found)
            return False
    return True


def _carries(parent: Alignment, network: NetworkRef, declaration: tree.AlignDecl, found: Diagnostics) -> bool:
    """Whether the placements of ``parent`` can be taken over for a network, which must be of the same shape."""
    why = unlike(network.facts, parent.network.facts)
    if why is not None:
        assert declaration.network is not None
        found.report(
            "E731",
            f"`{network.name}` does not have the shape of `{parent.network.name}`",
            declaration.network.span,
            others=((declaration.model.span, f"its places are in `{parent.network.name}`"),),
            notes=(why,),
            help=f"write a separate alignment: align {declaration.name.name} : {parent.model.name} -> {network.name} {{ … }}",
        )
    return why is None


def _prompts(
    declaration: tree.AlignDecl, model: CausalModel, network: NetworkRef, options: ReadOptions, found: Diagnostics
) -> tuple[PromptLine, ...] | None:
    before = len(found.errors)
    lines = []
    for member in declaration.members:
        if not isinstance(member, tree.Prompt):
            continue
        chat = not isinstance(member.text, tree.String)
        if isinstance(member.text, tree.String):
            template = parse_template(member.text.value, member.text.span, found)
        else:
            template = read_chat(member.text, network, options.tokens(network), found)
        if template is None:
            continue
        check_placeholders(template, model.variables, member.text.span, found)
        if not model.sets.keys().isdisjoint(template.placeholders):
            no_value(found, member.text.span)
        for name in model.unstated.intersection(template.placeholders):
            refuse_unstated(name, member.text.span, found)
        where = None
        if member.where is not None:
            where = compile_predicate(member.where, {"": model}, found)
        lines.append(PromptLine(template, where, member.text.span, chat))
    return tuple(lines) if len(found.errors) == before else None
