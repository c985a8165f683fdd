"""Servers that speak the OpenAI API, such as vLLM, SGLang, llama.cpp or Ollama: what their model says."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn, TypeVar

from dpo_lightning.errors import InputError
from dpo_lightning.utils.settings import NOT_NEGATIVE, POSITIVE, at_least
from dpo_lightning.utils.text import nearest, one_line

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_DEFAULT_VARIABLE = "OPENAI_API_KEY"
_BY_ITSELF = frozenset({"stop", "eos_token", "stop_sequence"})
_CUT = frozenset({"length", "content_filter"})
_NO_TEXT = "an answer has no text, as of a model that calls a tool, or thinks to the last of max_tokens: give it more"


class Reply(NamedTuple):
    """A text that a server's model has written.

    Attributes:
        text: The text.
        ended: Whether it ended by itself; it was cut at the most tokens, or by a filter, where not.
    """

    text: str
    ended: bool


class Endpoint:
    """A model behind an address.

    A request that meets a busy, failing or silent server is sent again, after 0.5 s and then twice as long, up to 8 s,
    or when the server says. Needs the extra `endpoint`.

    Args:
        url: Address of the server's API, which often ends in `/v1`.
        model: Name of the model, as the server has it.
        key_variable: Environment variable with the key. A server that asks for none is sent a placeholder.
        timeout: Seconds to wait for an answer.
        retries: Times that a request is sent again.
        at_once: Most requests at the same time, in `in_order`.

    Raises:
        InputError: where the package `openai` is missing, and for an address or a setting that is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_variable: str = _DEFAULT_VARIABLE,
        *,
        timeout: float = 120.0,
        retries: int = 5,
        at_once: int = 8,
    ) -> None:
        POSITIVE.check("endpoint timeout", timeout)
        NOT_NEGATIVE.check("endpoint retries", retries)
        at_least(1).check("endpoint at_once", at_once)
        self.url, self.model, self.at_once = _checked(url), model, at_once
        self._variable, self._timeout, self._retries = key_variable, timeout, retries
        key = os.environ.get(key_variable)
        if key is None and key_variable != _DEFAULT_VARIABLE:
            raise self._error(f"the environment variable {key_variable}, which is to hold its key, is not set")
        self._client = _package().OpenAI(base_url=self.url, api_key=key or "none", timeout=timeout, max_retries=retries)
        self._most_tokens = "max_tokens"
        self._takes_several = True

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        seed: int | None = None,
        **more: Any,
    ) -> list[Reply]:
        """Return answers to a conversation.

        Args:
            messages: Messages with `role` and `content`.
            n: Answers. A server that gives one at a time is asked again, with the next seeds.
            temperature: Softmax temperature.
            max_tokens: Most tokens of an answer.
            seed: Seed of the sampling; a server may leave it out of account.
            **more: Further fields of the request, such as `top_p`; those that OpenAI does not know in `extra_body`.

        Raises:
            InputError: for a server that does not answer, or with something else.
        """
        asked = {"messages": list(messages), "temperature": temperature, "max_tokens": max_tokens, **more}
        return self._replies(self._client.chat.completions.create, _said, asked, n, seed)

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        seed: int | None = None,
        **more: Any,
    ) -> list[Reply]:
        """Return texts that continue a text, or its tokens; further arguments and errors are those of `chat`."""
        asked = {
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "temperature": temperature,
            "max_tokens": max_tokens,
            **more,
        }
        return self._replies(self._client.completions.create, _continued, asked, n, seed)

    def in_order(self, ask: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield what a function returns for each item, in their order, while it runs for the next ones in threads."""
        waiting: deque[Future[_Result]] = deque()
        with ThreadPoolExecutor(self.at_once) as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(ask, item))
                    if len(waiting) >= 2 * self.at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()

    def _replies(
        self,
        create: Callable[..., Any],
        text_of: Callable[[Any], Any],
        asked: Mapping[str, Any],
        n: int,
        seed: int | None,
    ) -> list[Reply]:
        found: list[Reply] = []
        while len(found) < n:
            left = n - len(found) if self._takes_several else 1
            own = {} if seed is None else {"seed": seed + len(found)}  # the same would give the same text again
            choices = self._asked(create, {**asked, **own, "n": left}) or []
            found += [self._reply(each, text_of(each)) for each in choices[:left]]
        return found

    def _asked(self, create: Callable[..., Any], request: dict[str, Any]) -> list[Any] | None:
        """Return the choices of an answer; None where the request is to be made anew, without what the server lacks."""
        openai = _package()
        sent = {**request, self._most_tokens: request["max_tokens"]}
        if self._most_tokens != "max_tokens":
            del sent["max_tokens"]
        if sent["n"] == 1:
            del sent["n"]
        try:
            answer = create(model=self.model, **sent)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if not self._gave_way(str(error), sent):
                self._refuse(error)
            return None
        except openai.OpenAIError as error:
            self._refuse(error)
        except TypeError as error:
            raise self._error(f"the request cannot be made: {one_line(error, 200)}") from None
        choices = getattr(answer, "choices", None)
        if not choices:
            said = "an answer without choices" if hasattr(answer, "choices") else one_line(answer, 80)
            raise self._error(
                f"it answers with something else than a completion: {said}: is this the address of an API?"
            )
        return list(choices)

    def _gave_way(self, said: str, sent: Mapping[str, Any]) -> bool:
        """Return whether the request can be made in a form that the server may take."""
        if "max_completion_tokens" in said and "max_tokens" in sent and "messages" in sent:
            self._most_tokens = "max_completion_tokens"
            return True
        if "n" in sent:
            self._takes_several = False
            return True
        return False

    def _reply(self, choice: Any, text: Any) -> Reply:
        reason = getattr(choice, "finish_reason", None)
        if not isinstance(text, str):
            raise self._error(f"{_NO_TEXT} (content null, finish_reason {reason!r})")
        if reason not in _BY_ITSELF | _CUT:
            known = ", ".join(sorted(_BY_ITSELF | _CUT))
            raise self._error(f"an answer ended by finish_reason {reason!r}, which is none of {known}")
        return Reply(text, reason in _BY_ITSELF)

    def _refuse(self, error: Any) -> NoReturn:
        openai = _package()
        status = getattr(error, "status_code", None)
        if isinstance(error, openai.APITimeoutError):
            said = f"no answer in {self._timeout:g} s, {self._retries + 1} times: give it more time, or ask for less"
        elif isinstance(error, openai.APIConnectionError):
            said = f"no server answers ({one_line(error.__cause__ or error, 120)}): start it, or correct the address"
        elif status in (401, 403):
            said = (
                f"it refuses the key ({status}): put one that it takes into the environment variable {self._variable}"
            )
        elif status == 404:
            said = self._not_found(error)
        else:
            said = f"it refuses a request: {one_line(error, 200)}"
        raise self._error(said) from None

    def _not_found(self, error: Any) -> str:
        try:
            names = [each.id for each in self._client.with_options(max_retries=0).models.list().data]
        except Exception:  # whatever the server does, it is of no help
            names = []
        if not names or self.model in names:
            return (
                f"not found ({one_line(error, 120)}): correct the address, which often ends in /v1, or the model's name"
            )
        near = nearest(self.model, names)
        likely = f"did you mean {near}?" if near else f"it has {one_line(', '.join(sorted(names)), 160)}"
        return f"there is no model {self.model}: {likely}"

    def _error(self, said: str) -> InputError:
        return InputError(f"endpoint {self.url}: {said}")


def _said(choice: Any) -> Any:
    return getattr(getattr(choice, "message", None), "content", None)


def _continued(choice: Any) -> Any:
    return getattr(choice, "text", None)


def _package() -> Any:
    try:
        import openai
    except ImportError:
        raise InputError("an endpoint needs the package openai: pip install 'dpo_lightning[endpoint]'") from None
    return openai


def _checked(url: str) -> str:
    short = url.rstrip("/")
    if not short.startswith(("http://", "https://")) or len(short.partition("://")[2]) < 1:
        raise InputError(f"endpoint {url}: give an address that begins with http:// or https://")
    for path in ("/chat/completions", "/completions"):
        if short.endswith(path):
            raise InputError(f"endpoint {url}: give the address without {path}: {short.removesuffix(path)}")
    return short
