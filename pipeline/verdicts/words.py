"""Reasons in words, in both languages. Codes are stable; sentences may change."""

from pipeline.verdicts.verdict import Reason
from pipeline.wording import filled

_GATES = {
    "failure": ("failures", "失败率"),
    "score": ("quality score", "质量得分"),
    "ttft_slo": ("first token in time", "首字时限达标率"),
    "duration_slo": ("answer in time", "响应时限达标率"),
    "ttft_quantile": ("time to first token", "首字延迟"),
    "duration_quantile": ("time to the whole answer", "总响应时间"),
    "cost": ("cost per conversation", "每会话成本"),
    "cost_per_success": ("cost per success", "每次成功成本"),
    "pair:failure": ("failures in shadow pairs", "影子配对失败率"),
    "pair:score": ("quality in shadow pairs", "影子配对质量得分"),
    "pair:disagreement": ("disagreement in shadow pairs", "影子配对差异度"),
}

_CHECKS = {
    "delivered": ("delivered", "已送达"),
    "complete": ("complete", "完整"),
    "not_refused": ("not refused", "未拒答"),
    "tool_calls_valid": ("tool calls valid", "工具调用有效"),
    "structured_output_valid": ("structured output valid", "结构化输出有效"),
    "language_as_asked": ("language as asked", "语言符合要求"),
    "no_repetition": ("no repetition", "无重复退化"),
    "protocol_conformance": ("protocol conformance", "协议一致性"),
}

_SENTENCES = {
    "unbalanced": (
        "The accounts do not balance: records are missing or counted twice.",
        "账目不平：有记录缺失或重复计数。",
    ),
    "late": (
        "Data is complete only up to {age} ago, more than the {allowed} allowed.",
        "数据仅完整到 {age}前，超过允许的 {allowed}。",
    ),
    "catching_up": (
        "The past is still being read in: so far up to {age} ago.",
        "仍在读入历史数据：目前读到 {age}前。",
    ),
    "late_unknown": (
        "Up to when data is complete is not known yet.",
        "尚不知数据完整到何时。",
    ),
    "split": (
        "Conversations are not split as declared: {n_b} of {n} went to the candidate at a share of {share}.",
        "会话分流与声明不符：份额 {share} 下，{n} 个会话中有 {n_b} 个进入候选。",
    ),
    "unscored": (
        "Scores are missing for {b} of the candidate's conversations and {a} of the baseline's: what is left cannot be compared.",
        "候选有 {b} 的会话缺少得分，基线为 {a}：剩余部分不可比。",
    ),
    "unscored_but_worst": (
        "Scores are missing unevenly, but even if every missing one were bad the gate is passed.",
        "得分缺失不均，但即使缺失者全按最差计算，该门槛仍通过。",
    ),
    "harmed": (
        "{gate}: {candidate} against {baseline}, shown to be worse by more than {harm}.",
        "{gate}：候选 {candidate}，基线 {baseline}，已证实恶化超过 {harm}。",
    ),
    "harmed_ratio": (
        "{gate}: {candidate} against {baseline}, shown to be more than {harm} times as many.",
        "{gate}：候选 {candidate}，基线 {baseline}，已证实超过 {harm} 倍。",
    ),
    "harmed_lately": (
        "{gate}: {n_b} of the last {n} were the candidate's at a share of {share}, shown to be more than {harm} times as many.",
        "{gate}：最近 {n} 次失败中 {n_b} 次来自候选（份额 {share}），已证实超过 {harm} 倍。",
    ),
    "over_limit": (
        "{gate}: {candidate}, shown to be above the limit of {harm}.",
        "{gate}：候选 {candidate}，已证实超过上限 {harm}。",
    ),
    "no_candidate": (
        "The candidate has had no conversation yet.",
        "候选尚无会话。",
    ),
    "no_data": (
        "{gate}: no data from the {arms}, so nothing can be shown; wait, or take the gate away.",
        "{gate}：{arms}无数据，无法判定；请等待或取消该门槛。",
    ),
    "open": (
        "{gate}: worse by {loss}, at most {upper}; not yet shown to be less than {margin}.{more}",
        "{gate}：恶化 {loss}，至多 {upper}；尚未证实低于 {margin}。{more}",
    ),
    "open_better": (
        "{gate}: better by {gain}, but perhaps worse by up to {upper}; not yet shown to be less than {margin}.{more}",
        "{gate}：改善 {gain}，但可能恶化至多 {upper}；尚未证实低于 {margin}。{more}",
    ),
    "open_ratio": (
        "{gate}: {loss} the baseline's, at most {upper}; not yet shown to be less than {margin}.{more}",
        "{gate}：为基线的 {loss}，至多 {upper}；尚未证实低于 {margin}。{more}",
    ),
    "open_noise": (
        "{gate}: {loss} beyond the {baseline} of the baseline with itself, at most {upper}; not yet shown to be less than {margin}.{more}",
        "{gate}：超出基线自身差异 {baseline} 的部分为 {loss}，至多 {upper}；尚未证实低于 {margin}。{more}",
    ),
    "harmed_noise": (
        "{gate}: {candidate}, {baseline} of the baseline with itself; shown to be more than {harm} beyond that.",
        "{gate}：候选 {candidate}，基线自身 {baseline}，已证实超出噪声底 {harm} 以上。",
    ),
    "no_pairs": (
        "{gate}: no conversation was mirrored and judged yet.",
        "{gate}：尚无已判定的影子会话。",
    ),
    "no_noise": (
        "{gate}: no call was mirrored to the baseline a second time yet, so its noise floor is unknown.",
        "{gate}：尚无调用二次镜像到基线，噪声底未知。",
    ),
    "burn_in": (
        "{gate}: an approximation that needs {needed} conversations per arm first.",
        "{gate}：近似检验，每组至少需要 {needed} 个会话。",
    ),
    "no_longer": (
        "{gate}: was shown to be tolerable, no longer is.",
        "{gate}：曾证实可接受，现已不成立。",
    ),
    "unreachable": (
        "{gate}: cannot be shown before the deadline with this traffic; widen the margin, raise the share or move the deadline.",
        "{gate}：按当前流量在截止日期前无法证实；请放宽界限、提高份额或推迟截止日期。",
    ),
    "unlikely": (
        "{gate}: will hardly be shown before the deadline with this traffic; raise the share, widen the margin or move the deadline.",
        "{gate}：按当前流量在截止日期前恐难证实；请提高份额、放宽界限或推迟截止日期。",
    ),
    "horizon": (
        "Too early: {n} of {wanted} conversations per arm at this share.",
        "为时尚早：当前份额下每组 {n}/{wanted} 个会话。",
    ),
    "horizon_in_shadow": (
        "Too early: {n} of {wanted} conversations mirrored.",
        "为时尚早：已镜像 {n}/{wanted} 个会话。",
    ),
    "days": (
        "Too early: {days} of {wanted} days seen.",
        "为时尚早：已观察 {days}/{wanted} 天。",
    ),
    "budget": (
        "The candidate's budget is used up.",
        "候选的预算已用尽。",
    ),
    "passed": (
        "All gates are passed: {gates}.",
        "全部门槛通过：{gates}。",
    ),
    "passed_in_shadow": (
        "All gates of the shadow pairs are passed: {gates}. No user has met the candidate yet.",
        "影子配对门槛全部通过：{gates}。尚无用户接触候选。",
    ),
    "drift": (
        "Drift alarm, not a comparison, since no baseline is left: {gate} {than} {limit}, the level before the cutover and the margin.",
        "漂移告警（已无基线，非对比）：{gate}{than} {limit}，即切换前水平加界限。",
    ),
}  # fmt: skip

_ARMS = {
    "baseline": ("baseline", "基线"),
    "candidate": ("candidate", "候选"),
    "both": ("baseline and the candidate", "基线与候选"),
}


def reason(code: str, **values: tuple[str, str] | str | int) -> Reason:
    """The sentence of a code; a pair of texts is one for each language."""

    def told(language: int) -> str:
        texts = {k: v[language] if isinstance(v, tuple) else v for k, v in values.items()}
        sentence = _SENTENCES[code][language].format(**texts).strip()
        return sentence[0].upper() + sentence[1:]

    return Reason(code, told(0), told(1))


def drift(gate: str, limit: float) -> Reason:
    """The alarm of a gate whose loss is above a limit; for the score, that it is below one."""
    if gate == "score":
        than, limit = ("below", "低于"), 1 - limit
    else:
        than = ("above", "高于")
    return reason("drift", gate=gate_name(gate), than=than, limit=measured(limit, "share"))


def gate_name(name: str) -> tuple[str, str]:
    """What people call a gate."""
    check = name.removeprefix("check:")
    if check == name:
        return _GATES[name]
    en, zh = _CHECKS.get(check, (check, check))
    return f'check "{en}"', f"检查“{zh}”"


def gate_names(names: list[str]) -> tuple[str, str]:
    """Several gates in a row."""
    told = [gate_name(name) for name in names]
    return ", ".join(en for en, _ in told), "、".join(zh for _, zh in told)


def arms(name: str) -> tuple[str, str]:
    """ "baseline", "candidate" or "both"."""
    return _ARMS[name]


def amount(value: float | None, unit: str) -> tuple[str, str]:
    """A loss or margin in its unit: points, times, or money."""
    if value is None:
        return "an unknown amount", "未知"
    if unit == "points":
        return f"{100 * value:.2f} points", f"{100 * value:.2f} 个百分点"
    if unit == "ratio":
        return f"{value:.3g} times", f"{value:.3g} 倍"
    return (f"{value:.4g} {unit}",) * 2


def measured(value: float | None, unit: str) -> tuple[str, str]:
    """A measured value itself: a share, milliseconds, or money."""
    if value is None:
        return "unknown", "未知"
    if unit == "share":
        return (f"{100 * value:.2f} %",) * 2
    if unit == "ms":
        return (f"{value:,.0f} ms",) * 2
    return (f"{value:.4g} {unit}",) * 2


def lasting(ms: int) -> tuple[str, str]:
    """A time in the unit people would say it in."""
    for unit_ms, en, zh in _UNITS_OF_TIME:
        if ms >= 2 * unit_ms:
            return f"{ms / unit_ms:,.1f} {en}", f"{ms / unit_ms:,.1f} {zh}"
    return f"{ms / 1000:.0f} s", f"{ms / 1000:.0f} 秒"


_UNITS_OF_TIME = ((86_400_000, "days", "天"), (3_600_000, "h", "小时"), (60_000, "min", "分钟"))


def needed(conversations: int | None) -> tuple[str, str]:
    """What a forecast adds to a sentence."""
    if conversations is None:
        return " As things are it never will be.", "照此下去无法证实。"
    more = filled("{n} {n:conversation|conversations} more", {"n": f"{conversations:,}"})
    return f" About {more}.", f"约还需 {conversations:,} 个会话。"
