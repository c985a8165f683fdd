"""Refusals in the words of several languages, and answers that begin like one."""

from __future__ import annotations

import pytest

from dpo_lightning.data.inspect.refusals import is_refusal

REFUSALS = """\
I'm sorry, but I can't do that.
I’m really sorry, but I’m not able to say.
  As an AI, I do not know.
I cannot provide that.
Sorry, I can't assist with that request.
Unfortunately, I am unable to discuss this topic.
I apologize, but I won't write that.
My apologies, but I must decline.
I am not comfortable answering this.
Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.
Dabei kann ich leider nicht helfen.
Je suis désolé, mais je ne peux pas vous aider.
Lo siento, pero no puedo ayudarte con eso.
Desculpe, mas não posso ajudar com isso.
Mi dispiace, ma non posso aiutarti.
Извините, но я не могу помочь с этим.
很抱歉，我无法回答这个问题。
对不起，我不能帮助你。
申し訳ありませんが、お手伝いできません。
죄송하지만 도와드릴 수 없습니다.
"""

ANSWERS = """\
I'm sorry to hear that! Tell me more.
I'm sorry to hear that you can't sleep. Try a warm drink.
I cannot wait to see you.
You say: I'm sorry, I can't.
Unfortunately, the shop can't deliver before Monday.
Ich kann nicht glauben, wie schön das ist!
Das kann sein.
No puedo esperar.
Lo siento mucho. ¿Qué pasó?
我不能同意更多。
"""


@pytest.mark.parametrize("said", REFUSALS.splitlines())
def test_a_refusal(said):
    assert is_refusal(said)
    assert not is_refusal(said + " But here is how it is done:" * 12), "a long answer says more"


@pytest.mark.parametrize("said", ANSWERS.splitlines())
def test_an_answer(said):
    assert not is_refusal(said)
