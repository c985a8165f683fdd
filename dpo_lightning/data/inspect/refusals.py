"""Answers that say only that there is none, in the words of the languages that most data has."""

from __future__ import annotations

import re

_LONGEST = 300  # characters: a longer answer says more than that it will not

_CANNOT = (
    r"\b(?:i|we)(?: (?:just|really|simply|unfortunately|must|have to))? ?"
    r"(?:can(?:['’]t|not| not)|won['’]t|will not|decline|refuse|(?:don['’]t|do not) feel comfortable)\b"
    r"|\b(?:i|we)(?:['’]m|['’]re| am| are) (?:unable|not (?:able|going|allowed|permitted|comfortable|willing))\b"
)
_DO = (
    "help|assist|provide|do|answer|comply|fulfil|discuss|create|write|generate|share|give|support|engage|participate|"
    "continue|offer|respond|tell|say"
)
_REFUSALS = (
    r"as an? (?:ai|artificial|(?:large )?language model)\b",
    rf"(?:(?:i(?:['’]m| am) )?(?:\w+ )?sorry|(?:my )?apologies|i (?:\w+ )?apologi[sz]e|unfortunately)\b.{{0,40}}?"
    rf"(?:{_CANNOT})",
    r"i (?:can(?:['’]t|not| not)|won['’]t|will not|am unable to|am not able to|must decline to|have to decline to) "
    rf"(?:{_DO})\b",
    rf"i(?:['’]m| am) (?:unable|not (?:able|allowed|permitted|comfortable|willing)) (?:to )?(?:{_DO})",
    r"(?:es )?tut mir (?:\w+ )?leid\b.{0,40}?\b(?:kann|darf|werde|möchte)\b",
    r"(?:das|dabei|damit|hierbei|hiermit) (?:kann|darf) ich\b.{0,20}? nicht\b",
    r"(?:je suis )?(?:\w+ )?désolée?\b.{0,40}?\bje ne (?:peux|suis|pourrai)\b",
    r"je ne (?:peux pas|suis pas en mesure)\b",
    r"lo siento\b.{0,40}?\bno (?:puedo|podemos|estoy)\b|no puedo (?:ayudar|responder|proporcionar|hacer|cumplir)",
    r"(?:desculp[ae]|sinto muito|lamento)\b.{0,40}?\bnão (?:posso|podemos|estou)\b",
    r"mi (?:di)?spiace\b.{0,40}?\bnon (?:posso|sono)\b",
    r"het spijt (?:me|mij)\b.{0,40}?\bkan\b",
    r"(?:извините|простите|к сожалению|мне жаль)\b.{0,40}?\bне (?:могу|смогу)\b",
    "(?:非常|很|十分)?(?:抱歉|对不起|對不起).{0,20}?(?:不能|无法|無法|不便)|我(?:不能|无法|無法)(?:帮|幫|提供|回答|协助|協助)",
    "(?:大変|誠に)?(?:申し訳|すみません|ごめん).{0,40}?(?:できません|できかね)",
    "(?:정말 |대단히 )?(?:죄송|미안).{0,40}?(?:없습니다|없어요|어렵습니다)",
)
_REFUSAL = re.compile("|".join(f"(?:{each})" for each in _REFUSALS), re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Return whether a text says only that it does not answer."""
    return len(text) <= _LONGEST and _REFUSAL.match(text.lstrip()) is not None
