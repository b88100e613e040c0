"""CampaignService."""

from collections.abc import AsyncIterator

from grpc import aio

from cloud.api.pages import page_request, page_token
from cloud.fleet.errors import InvalidFieldError
from cloud.fleet.names import campaign_id_of, check_resource_id, check_vin, release_id_of
from cloud.messages.campaigns import to_campaign, to_verdict
from cloud.store import campaigns
from cloud.store.campaigns import NewNonce
from cloud.store.errors import ClosingError
from cloud.store.store import Store
from protocols.fleet.v1 import campaigns_pb2
from protocols.fleet.v1.campaigns_pb2_grpc import CampaignServiceServicer

_LISTING = "campaigns"


class CampaignService(CampaignServiceServicer):
    def __init__(self, store: Store, *, new_nonce: NewNonce) -> None:
        self._store = store
        self._new_nonce = new_nonce

    async def CreateCampaign(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.CreateCampaignRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> campaigns_pb2.Campaign:
        if request.campaign_id:
            check_resource_id(request.campaign_id, field="campaign_id")
        campaign = await self._store.database.write(
            campaigns.create,
            campaign_id=request.campaign_id,
            release_id=release_id_of(request.release, field="release"),
            vins=_vins(request),
            now=self._store.clock.now(),
        )
        return to_campaign(campaign)

    async def GetCampaign(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.GetCampaignRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> campaigns_pb2.Campaign:
        campaign_id = campaign_id_of(request.name, field="name")
        return to_campaign(await self._store.database.read(campaigns.get, campaign_id))

    async def ListCampaigns(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.ListCampaignsRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> campaigns_pb2.ListCampaignsResponse:
        wanted = page_request(request.page_size, request.page_token, listing=_LISTING)
        page = await self._store.database.read(
            campaigns.list_page, after=wanted.after, size=wanted.size
        )
        return campaigns_pb2.ListCampaignsResponse(
            campaigns=[to_campaign(campaign) for campaign in page.items],
            next_page_token=page_token(page.next_key, listing=_LISTING),
        )

    async def DryRunCampaign(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.DryRunCampaignRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> campaigns_pb2.DryRunCampaignResponse:
        campaign_id = campaign_id_of(request.name, field="name")
        verdicts = await self._store.database.read(campaigns.verdicts, campaign_id)
        return campaigns_pb2.DryRunCampaignResponse(
            verdicts=[to_verdict(verdict) for verdict in verdicts]
        )

    async def StartCampaign(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.StartCampaignRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> campaigns_pb2.Campaign:
        campaign_id = campaign_id_of(request.name, field="name")
        campaign = await self._store.database.write(
            campaigns.start,
            campaign_id,
            now=self._store.clock.now(),
            new_nonce=self._new_nonce,
        )
        self._store.changes.notify(campaign_id)
        for older in await self._store.database.read(campaigns.superseded, campaign_id):
            self._store.changes.notify(older)
        return to_campaign(campaign)

    async def CancelCampaign(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.CancelCampaignRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> campaigns_pb2.Campaign:
        campaign_id = campaign_id_of(request.name, field="name")
        campaign = await self._store.database.write(
            campaigns.cancel, campaign_id, now=self._store.clock.now()
        )
        self._store.changes.notify(campaign_id)
        return to_campaign(campaign)

    async def WatchCampaign(  # noqa: N802 the service's word
        self,
        request: campaigns_pb2.WatchCampaignRequest,
        context: aio.ServicerContext[object, object],  # noqa: ARG002 the guard has used it
    ) -> AsyncIterator[campaigns_pb2.Campaign]:
        campaign_id = campaign_id_of(request.name, field="name")
        shown = None
        with self._store.changes.watch(campaign_id) as watch:
            while True:
                campaign = await self._store.database.read(campaigns.get, campaign_id)
                if campaign != shown:
                    shown = campaign
                    yield to_campaign(campaign)
                if campaign.finished:
                    return
                if self._store.changes.closed:
                    raise ClosingError("the cloud is going down; watch again in a moment")
                await watch.changed()


def _vins(request: campaigns_pb2.CreateCampaignRequest) -> tuple[str, ...]:
    if not request.vins:
        raise InvalidFieldError("vins", "a campaign has at least one vehicle")
    vins = tuple(check_vin(vin, field=f"vins[{index}]") for index, vin in enumerate(request.vins))
    seen: dict[str, int] = {}
    for index, vin in enumerate(vins):
        if (first := seen.setdefault(vin, index)) != index:
            raise InvalidFieldError(f"vins[{index}]", f"{vin} is also vins[{first}]")
    return vins
