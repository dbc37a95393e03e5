package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Many messages in one request: stored together, at offsets that follow one another, delivered one by one. */
final class BatchSends implements Scenario {
    private static final int BATCHES = 10;
    private static final int SIZE = 50;

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("batch");
        DefaultMQProducer producer = stage.producer("batch-producer");

        stage.check("a batch is answered with an id for each message", () -> {
            for (int batch = 0; batch < BATCHES; batch++) {
                List<Message> messages = new ArrayList<>();
                for (int n = 0; n < SIZE; n++) {
                    Message message = new Message(topic, "tag", "key", Received.bytes("batch-" + batch + "-" + n));
                    message.putUserProperty("n", String.valueOf(n));
                    messages.add(message);
                }
                SendResult result = producer.send(messages);
                require(result.getSendStatus() == SendStatus.SEND_OK, "batch " + batch + ": " + result.getSendStatus());
                require(result.getOffsetMsgId().split(",").length == SIZE, "offset ids: " + result.getOffsetMsgId());
                require(result.getMsgId().split(",").length == SIZE, "unique ids: " + result.getMsgId());
            }
            return BATCHES + " batches of " + SIZE;
        });

        stage.check("messages of a batch lie in one queue, in order, and arrive one by one", () -> {
            Received received = new Received();
            stage.consuming("batch-all", topic, "*", received);
            await("all deliveries", () -> received.bodies().size() == BATCHES * SIZE, () -> received.bodies().size() + " bodies");
            MessageQueue[] queues = new MessageQueue[BATCHES];
            long[] first = new long[BATCHES];
            for (MessageExt message : received.all) {
                String[] parts = Received.text(message).split("-");
                int batch = Integer.parseInt(parts[1]);
                int n = Integer.parseInt(parts[2]);
                require(String.valueOf(n).equals(message.getUserProperty("n")), "a property of another message");
                MessageQueue queue = new MessageQueue(topic, message.getBrokerName(), message.getQueueId());
                if (queues[batch] == null) {
                    queues[batch] = queue;
                    first[batch] = message.getQueueOffset() - n;
                }
                require(queues[batch].equals(queue) && message.getQueueOffset() == first[batch] + n, "batch " + batch + " is torn at " + n);
            }
            return received.all.size() + " deliveries";
        });
    }
}
